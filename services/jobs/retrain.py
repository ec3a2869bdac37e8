"""Training a model again where it is due, or where somebody asks for it: from the dataset to its proposal.

Each step is written down before the next begins, so that a run which is killed anywhere is gone on with by the next:
one job ends with one version, its lineage and one rollout at most.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, NoReturn

from loguru import logger
from sqlalchemy import Engine

from canari import dataset
from canari.archives import archives
from canari.curation import Curated
from canari.errors import CanariError
from canari.family import Family, find_family
from canari.policy.retrain import Trigger
from canari.registry import Registry
from canari.schedule import RETRAIN_LOOK
from canari.settings import Settings
from canari.store import jobs, rollout_views, rollouts, samples, versions
from canari.store.jobs import Job
from canari.types import JobKind, Manifest, Origin, VersionState
from services.jobs.comparing import Comparison
from services.jobs.diagnose import diagnose, report
from services.jobs.lineage import lineage_url
from services.jobs.looking import Look, look
from services.jobs.making import Made, Order, TooBadError
from services.jobs.progress import reporting
from services.jobs.running import LEASE, Refused, Running, run
from services.jobs.samples import add_generated, by_policy, recalled
from services.jobs.train import Terms, alone, conclude, train_version
from services.jobs.tuning import tune

ACTOR = "job:retrain"


def retrain_due(
    engine: Engine,
    settings: Settings,
    *,
    model: str | None,
    dry_run: bool,
    holder: str,
    tell: Callable[[str], object],
) -> list[dict[str, Any]]:
    """Look at each model, or at one, ask for what is due, and do all retraining that waits, whoever asked for it.

    Returns what came of each look and of each job, as JSON values. A dry run does nothing, and says what it would do.
    """
    looks = []
    for one in look(engine, settings, model=model, dry_run=dry_run):
        tell(f"{one.model}: {one.sentence}" + (f" ({one.due.trigger}: {one.due.reason})" if one.due else ""))
        looks.append(one)
    if dry_run:
        return [one.document() for one in looks]
    jobs.touch(engine, JobKind.RETRAIN, RETRAIN_LOOK, asked_by="schedule", reason=_summary(looks))
    ended = []
    with reporting() as report:
        while (job := jobs.take(engine, JobKind.RETRAIN, holder=holder, lease=LEASE, model=model)) is not None:
            done = run(engine, job, lambda running: Retraining(engine, settings, running).work(), report)
            tell(f"{done.model}: job {done.id} is {done.state}" + (f": {done.error}" if done.error else ""))
            ended.append(done)
    known = {one.job.id for one in looks if one.job}
    others = [Look(str(job.model), None, job.reason, job) for job in ended if job.id not in known]
    newest = {job.id: job for job in ended}
    return [replace(one, job=newest.get(one.job.id, one.job) if one.job else None).document() for one in looks + others]


def _summary(looks: list[Look]) -> str:
    return "; ".join(f"{one.model}: {one.sentence}" for one in looks) or "there is no model"


class Retraining:
    """The work of one job."""

    def __init__(self, engine: Engine, settings: Settings, running: Running) -> None:
        self._engine = engine
        self._settings = settings
        self._layout = settings.layout
        self._running = running
        self._job: Job = running.job
        self._model = str(running.job.model)
        self._family = _family(engine, settings, self._model)
        self._registry = Registry(lineage_url(settings), settings.layout.mlflow)
        self._archives = archives(settings.archives_url, settings.layout.archives)

    def work(self) -> Mapping[str, Any]:
        """From where the last attempt was to the end; returns the job's result. Raises Refused with a reason."""
        self._refuse_again()
        number = self._running.facts.get("version")
        if number is None or self._state(number) is not VersionState.READY:
            self._refuse_outdated()
            self._diagnose()
            manifest = self._manifest()
            number = self._train(self._tuned(self._order(), manifest), manifest)
        else:
            conclude(self._engine, self._layout, self._registry, self._family, self._order(), self._digest())
        rollout = self._proposed(number)
        return {**self._result, "version": number, "rollout": rollout}

    @property
    def _result(self) -> Mapping[str, Any]:
        """What is known of the job's result so far."""
        return dict(self._running.facts.get("result", {}))

    def _refuse(self, why: str, /, **result: Any) -> NoReturn:
        """End the job as refused, even where this process is killed on the way."""
        self._running.note(refused=why, result={**self._result, **result})
        raise Refused(why, self._result)

    def _refuse_again(self) -> None:
        why, number = self._running.facts.get("refused"), self._running.facts.get("version")
        if why is None:
            return
        if number is not None and self._state(number) is VersionState.BUILDING:
            versions.mark_failed(self._engine, self._model, number, why)
        raise Refused(why, self._result)

    def _state(self, number: int) -> VersionState:
        return versions.version(self._engine, self._model, number).state

    def _digest(self) -> str:
        return str(self._running.facts.get("manifest") or self._job.arguments.get("manifest"))

    def _refuse_outdated(self) -> None:
        expected = self._job.arguments.get("stable")
        stable = rollouts.desired(self._engine)[self._model].stable
        if expected is not None and stable != expected:
            self._refuse(f"version {stable} has become stable since version {expected} was looked at")

    def _manifest(self) -> Manifest:
        """The dataset that the job was asked for with, or else today's: noted, so that every attempt has the same."""
        noted = self._running.facts.get("manifest") or self._job.arguments.get("manifest")
        self._running.report("data", 0, 1, {})
        found = recalled(self._engine, self._layout, self._family.spec, str(noted)) if noted else self._fresh()
        if found is None:
            raise CanariError(f"the manifest {noted} is gone")
        self._refuse_unusable(found)
        digest = dataset.digest(found)
        samples.put_manifest(self._engine, digest, self._model, dataset.document(found))
        chosen = Curated(found.samples, {})
        result = {"manifest": digest, "samples": len(found.samples), "origins": chosen.origins, "shares": chosen.shares}
        self._running.note(manifest=digest, result={**self._result, **result})
        self._running.report("data", 1, 1, {})
        return found

    def _fresh(self) -> Manifest:
        count = self._job.arguments.get("generate")
        if count is not None:
            made = add_generated(
                self._engine, self._layout, self._family, int(count), self._order().seed, self._running.report
            )
            return Manifest(self._model, dataset.unique(made), synthetic=True)
        allowed = by_policy(self._engine, self._layout, self._family.spec)
        return Manifest(self._model, allowed.samples, synthetic=False)

    def _refuse_unusable(self, found: Manifest) -> None:
        """Refuse what nothing new can come of; a job that was asked for by hand may use the same data again."""
        stable = self._job.arguments.get("stable")
        if stable is not None and samples.manifest_of(self._engine, self._model, stable) == dataset.digest(found):
            self._refuse(
                f"stable version {stable} learned from exactly these samples: trained on them again it would be no "
                f"better. {self._hint}; it is then trained by itself"
            )
        try:
            dataset.manifest(self._family, found.samples, synthetic=found.synthetic)
        except CanariError as error:
            self._refuse(str(error) if found.samples else f"there are no samples. {self._hint}")

    @property
    def _hint(self) -> str:
        return f"Add samples with `canari data add {self._model} DIR`"

    def _order(self) -> Order:
        given = self._job.arguments
        always, tuned = self._family.spec.training.options, self._running.facts.get("tuned", {})
        options = {**always, **given.get("options", {}), **tuned}
        return Order(seed=int(given.get("seed", 0)), options=options)

    def _tuned(self, order: Order, manifest: Manifest) -> Order:
        trials = self._job.arguments.get("tune")
        if trials is None or "tuned" in self._running.facts:
            return order
        work = self._layout.training / self._model / f"tune-{self._job.id}"
        with alone(self._layout, self._family):
            try:
                found = tune(self._layout, self._family, order, manifest, int(trials), work, self._running.report)
            except CanariError as error:
                self._refuse(str(error))
            self._running.note(tuned=found, result={**self._result, "tuned": found})
            shutil.rmtree(work, ignore_errors=True)
        return self._order()

    def _train(self, order: Order, manifest: Manifest) -> int:
        terms = Terms(manifest, lambda number: self._running.note(version=number), self._judge)
        try:
            outcome = train_version(
                self._engine,
                self._layout,
                self._archives,
                self._family,
                order,
                self._registry,
                self._running.report,
                terms,
            )
        except TooBadError as error:
            self._refuse(str(error))
        skipped = [list(one) for one in outcome.skipped]
        self._running.note(result={**self._result, "skipped": skipped})
        return outcome.number

    def _judge(self, made: Made) -> None:
        """Before the version is ready. Raises Refused, which fails the version with the same reason."""
        self._running.report("accept", 0, 1, {})
        own = self._result["origins"].get(Origin.CONFIDENT, 0)
        found = Comparison(self._engine, self._archives).judge(self._family.spec, made, self_labelled=own > 0)
        sentence = found.sentence
        if own:
            sentence += f"; {own:,} of the samples bear labels that a version of this model gave them itself"
        result = {"accepted": found.accepted, "why": sentence, **found.figures}
        if not found.accepted:
            self._refuse(sentence, **result, version=self._running.facts["version"])
        self._running.note(result={**self._result, **result})
        self._running.report("accept", 1, 1, {})

    def _proposed(self, number: int) -> int:
        """The version's rollout: the one it had, whatever became of it, or a new one."""
        self._running.report("propose", 0, 1, {})
        known = rollout_views.listed(self._engine, self._model, last=1, version=number)
        if known:
            return known[0].id
        why = self._result.get("why")
        reason = f"{self._job.reason}; {why}" if why else self._job.reason
        opened = rollouts.propose(self._engine, self._model, number, actor=ACTOR, reason=reason)
        self._running.report("propose", 1, 1, {})
        return opened.id

    def _diagnose(self) -> None:
        """Where users are unhappy, look for the reason first: kept as a report that the job's result names."""
        given = self._job.arguments
        if given.get("trigger") != Trigger.SATISFACTION or "diagnosis" in self._result:
            return
        self._running.report("diagnose", 0, 1, {})
        since = datetime.fromisoformat(given["since"])
        found = diagnose(self._engine, self._model, int(given["stable"]), since)
        told: dict[str, Any] = {"sentences": list(found.sentences)}
        try:
            told["report"] = report(self._engine, self._settings, found)
        except OSError as error:
            logger.warning("the diagnosis of {} could not be written: {}", self._model, error)
        self._running.note(result={**self._result, "diagnosis": told})
        self._running.report("diagnose", 1, 1, {})


def _family(engine: Engine, settings: Settings, model: str) -> Family:
    """The family's code, with the specification that is live here. Raises Refused where this machine has none."""
    try:
        found = find_family(settings.families_dir, model)
    except CanariError as error:
        raise Refused(f"{error}: a model that was only pushed here is trained where its folder is") from None
    return replace(found, spec=versions.live_specs(engine)[model])
