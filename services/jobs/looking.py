"""Looking whether models are due to be trained again, and asking for it: once for the same stable version and data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine

from canari import dataset
from canari.curation import news
from canari.errors import CanariError
from canari.policy.retrain import Due, Facts, not_now, should_retrain
from canari.settings import Settings
from canari.spec import ModelSpec, TrainOn
from canari.store import facts, jobs, samples, versions
from canari.store.jobs import Job
from canari.types import JobKind, Manifest
from services.jobs.samples import by_policy

_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Look:
    """What came of a look at a model: what is due, if anything, what is done about it and why, and the job of it."""

    model: str
    due: Due | None
    sentence: str
    job: Job | None = None

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "model": self.model,
            "trigger": self.due.trigger if self.due else None,
            "reason": self.due.reason if self.due else None,
            "outcome": self.sentence,
            "job": self.job.id if self.job else None,
            "state": self.job.state if self.job else None,
        }


def look(engine: Engine, settings: Settings, *, model: str | None, dry_run: bool) -> Iterator[Look]:
    """Look at each model, or at one, and ask for what is due; a dry run only says what it would ask for."""
    for name, spec in versions.live_specs(engine).items():
        if model in {None, name}:
            yield _look(engine, settings, spec, dry_run=dry_run)


def _look(engine: Engine, settings: Settings, spec: ModelSpec, *, dry_run: bool) -> Look:
    found = facts.read(engine, spec.name, origins=news(spec.data.train_on))
    if found is None:
        return Look(spec.name, None, "it has no stable version: train its first by hand")
    now = datetime.now(UTC)
    try:
        due = should_retrain(spec.triggers, found, now)
    except CanariError as error:
        return Look(spec.name, None, str(error))
    if due is None:
        return Look(spec.name, None, "nothing is due")
    wait = not_now(found, now, self_labelling=spec.data.train_on is TrainOn.CONFIDENT)
    if wait is not None:
        return Look(spec.name, due, f"due, but {wait}")
    return _asked(engine, settings, spec, found, due, dry_run=dry_run)


def _asked(engine: Engine, settings: Settings, spec: ModelSpec, found: Facts, due: Due, *, dry_run: bool) -> Look:
    manifest = Manifest(spec.name, by_policy(engine, settings.layout, spec).samples, synthetic=False)
    digest = dataset.digest(manifest)
    key = f"retrain:{spec.name}:v{found.stable}:{digest[:_DIGITS]}"
    known = jobs.of_keys(engine, [key]).get(key)
    if known is not None:
        why = f": {known.error}" if known.error else ""
        return Look(
            spec.name,
            due,
            f"due, but on the same data for the same stable version it was asked for before (job {known.id} is "
            f"{known.state}{why})",
            known,
        )
    if dry_run:
        return Look(spec.name, due, f"it would be trained on {len(manifest.samples):,} samples, as {key}")
    samples.put_manifest(engine, digest, spec.name, dataset.document(manifest))
    job, _ = jobs.ask(
        engine,
        JobKind.RETRAIN,
        key,
        model=spec.name,
        asked_by=f"trigger:{due.trigger}",
        reason=due.reason,
        arguments=_arguments(found, due, digest),
    )
    return Look(spec.name, due, f"asked for as job {job.id}", job)


def _arguments(found: Facts, due: Due, digest: str) -> Mapping[str, Any]:
    since = due.since or found.stable_since
    return {"trigger": due.trigger, "stable": found.stable, "manifest": digest, "since": since.isoformat()}
