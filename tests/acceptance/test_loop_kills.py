"""Retraining killed anywhere: the next run ends with exactly one new version, one lineage and one rollout.

The real program is killed with SIGKILL at the stages that it reports in `jobs`, and at random moments. The minute for
which a dead runner still holds its job is let pass by writing into the job's row.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from canari import dataset
from canari.blobs import FolderBlobs, samples_folder
from canari.family import Family, find_family
from canari.launch.postgres import OWNER
from canari.registry import Registry
from canari.store import jobs, rollout_views, rollouts, samples, versions
from canari.store.jobs import Job
from canari.store.migrate import ensure_database
from canari.types import JobKind, JobState, VersionState
from services.jobs.making import Order
from tests.acceptance.conftest import FULL, Figures
from tests.conftest import ROOT, fresh_database
from tests.integration.jobs.conftest import Workshop, workshop_in

pytestmark = pytest.mark.timeout(3600)
RANDOM_MOMENTS = 6 if FULL else 2
_TRIES = 5
# Each with what an operator would call it.
STAGES = {
    "decode": "data building",
    "train": "training",
    "accept": "the comparison with stable",
    "export": "export",
    "lineage": "registration",
    "propose": "proposal",
}
# A training that takes a while, as real ones do, and goes on from its last step.
_SLOW = """    import time

    run.checkpoints.mkdir(parents=True, exist_ok=True)
    kept = run.checkpoints / "step"
    for step in range(int(kept.read_text()) if kept.exists() else 0, 20):
        time.sleep(0.05)
        kept.write_text(str(step + 1))
        run.report("train", step + 1, 20, {})
    columns = """


@dataclass
class Shop:
    """One family's workshop, with an MLflow of its own."""

    workshop: Workshop
    family: Family
    added: int = 0

    def give(self, count: int) -> None:
        """Samples that the team added an hour ago."""
        blobs, folder = FolderBlobs(self.workshop.layout.blobs), samples_folder(self.family.name)
        made = []
        self.added += 1
        for raw in self.family.generate(count, self.added):
            path = Path(folder) / blobs.put(folder, raw.content)
            made.append(dataset.sample(raw.content, raw.label, path, "given", self.family))
        versions.put_spec(self.workshop.engine, self.family.spec)
        samples.add(self.workshop.engine, self.family.name, made)
        with self.workshop.engine.begin() as connection:
            connection.execute(text("UPDATE samples SET created_at = now() - interval '1 hour'"))

    def start(self) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "CANARI_DATA_DIR": str(self.workshop.layout.root),
            "CANARI_FAMILIES_DIR": str(self.workshop.families),
            "CANARI_DATABASE_URL": self.workshop.app_url,
            "CANARI_LINEAGE_URL": self.workshop.lineage_url,
        }
        log = (self.workshop.layout.root / "retrain.log").open("ab")
        with log:
            return subprocess.Popen(
                [sys.executable, "-m", "services.jobs", "retrain"], cwd=ROOT, env=environment, stdout=log, stderr=log
            )

    def finish(self) -> None:
        """Run until it ends, however many runs were killed before."""
        with self.workshop.engine.begin() as connection:
            connection.execute(text("UPDATE jobs SET lease_until = now() WHERE state = 'running'"))
        ended = self.start().wait(timeout=600)
        assert ended == 0, (self.workshop.layout.root / "retrain.log").read_text()[-3000:]

    def job(self) -> Job | None:
        found = jobs.newest(self.workshop.engine, kind=JobKind.RETRAIN, model=self.family.name, limit=1)
        return found[0] if found else None

    def stage(self, besides: int | None) -> str | None:
        """What the job that is not `besides` was last reported to do."""
        job = self.job()
        return None if job is None or job.id == besides else job.progress.get("stage")

    def registered(self, number: int) -> tuple[int, int]:
        """How many versions of a number MLflow has, and how many runs."""
        client: Any = Registry(self.workshop.lineage_url, self.workshop.layout.mlflow)._client()
        tagged = f"tags.`canari.version` = '{number}'"
        experiment = client.get_experiment_by_name(self.family.name)
        runs = client.search_runs([experiment.experiment_id], tagged)
        return len(client.search_model_versions(f"name = '{self.family.name}' and {tagged}")), len(runs)


def killed(shop: Shop, when: Callable[[], bool], besides: int | None) -> str:
    """Start the program and kill it; returns the stage that its job had reached, in words."""
    process = shop.start()
    try:
        deadline = time.monotonic() + 300
        while process.poll() is None and not when():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    finally:
        ended = process.wait()
    reached = shop.stage(besides) or "before its job was there"
    return reached if ended == -signal.SIGKILL else f"{reached}, after its end"


def verify(shop: Shop, figures: Figures, before: int, besides: int | None, where: str) -> None:
    """One job, done; one version, one lineage, one rollout; and nothing left behind, or done again."""
    engine, name = shop.workshop.engine, shop.family.name
    shop.finish()
    job = shop.job()
    assert job is not None
    made = [v for v in versions.versions(engine, name) if v.number > before]
    number = job.result.get("version", 0)
    opened = rollout_views.listed(engine, name, version=number)
    found = (
        job.id != besides and job.state is JobState.DONE,
        [(v.number, v.state) for v in made] == [(number, VersionState.READY)],
        shop.registered(number) == (1, 1),
        [one.id for one in opened] == [job.result.get("rollout")],
        not list((shop.workshop.layout.training / name).iterdir()),
    )
    told = f"killed at {where}: one job, one version, one lineage, one rollout, nothing left behind"
    figures.true(f"{told} (attempt {job.attempts})" if all(found) else f"{told}: {found}, {job}", holds=all(found))
    shop.finish()
    assert [v.number for v in versions.versions(engine, name) if v.number > before] == [number]


def again(shop: Shop) -> tuple[int, int | None]:
    """Make training due anew; returns the newest version so far, and the newest job."""
    opened = rollouts.desired(shop.workshop.engine)[shop.family.name].rollout
    if opened is not None:
        rollouts.abort(shop.workshop.engine, shop.family.name, reason="the next is to come", actor="a test")
    shop.give(120)
    job = shop.job()
    return versions.versions(shop.workshop.engine, shop.family.name)[0].number, job.id if job else None


@pytest.fixture(scope="module")
def shop(postgres: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The family `line`, its stable version 1 made of 800 samples; 100 new ones make it due."""
    with fresh_database(postgres) as database:
        made = workshop_in(tmp_path_factory.mktemp("kills"), database)
        made.lineage_url = ensure_database(postgres.url(OWNER), f"lineage_{uuid4().hex[:12]}")
        made.rewrite("model.yaml", "access: {anonymous", "triggers: {new_samples: 100}\naccess: {anonymous")
        made.rewrite("train.py", "    columns = ", _SLOW)
        made.rewrite("model.py", "    return rows", "    time.sleep(0.001)\n    return rows")
        made.rewrite("model.py", "import numpy as np", "import time\n\nimport numpy as np")
        line = Shop(made, made.family)
        line.give(800)
        number = made.train(Order()).number
        rollouts.propose(made.engine, "line", number, actor="a test", reason="the first")
        yield line


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_that_is_killed_at_a_stage_is_made_up_for(shop: Shop, figures: Figures, stage: str) -> None:
    """A stage may be over before it is seen: then the run is killed elsewhere, and another one is tried."""
    seen: list[str] = []
    while stage not in seen:
        assert len(seen) < _TRIES, f"{STAGES[stage]} was never met: {seen}"
        before, besides = again(shop)
        seen.append(killed(shop, lambda: shop.stage(besides) == stage, besides))  # noqa: B023 - called at once
        verify(shop, figures, before, besides, f"{STAGES[stage]} (last seen: {seen[-1]})")


class Moment:
    """Some time after the program began, or after it took its job."""

    def __init__(self, shop: Shop, besides: int | None, random: Random) -> None:
        job = shop.job()
        self._attempts = job.attempts if job is not None and job.id != besides else 0
        self._shop, self._besides = shop, besides
        self._from_its_job, self._wait = random.random() < 0.7, random.uniform(0, 8)
        self._began: float | None = None

    def __call__(self) -> bool:
        """Whether it has come."""
        if self._began is None and (not self._from_its_job or self._taken()):
            self._began = time.monotonic()
        return self._began is not None and time.monotonic() - self._began > self._wait

    def _taken(self) -> bool:
        job = self._shop.job()
        return job is not None and job.id != self._besides and job.attempts > self._attempts


@pytest.mark.parametrize("seed", range(RANDOM_MOMENTS))
def test_a_run_that_is_killed_at_some_moment_is_made_up_for(shop: Shop, figures: Figures, seed: int) -> None:
    """Twice in a row, for whatever was gone on with may be killed, too."""
    before, besides = again(shop)
    random, reached = Random(seed), []
    for _ in range(2):
        reached.append(killed(shop, Moment(shop, besides, random), besides))
        with shop.workshop.engine.begin() as connection:
            connection.execute(text("UPDATE jobs SET lease_until = now() WHERE state = 'running'"))
    verify(shop, figures, before, besides, f"two random moments (last seen: {' and '.join(reached)})")


def test_a_real_networks_training_goes_on_from_its_last_epoch(postgres: Any, tmp_path: Path, figures: Figures) -> None:
    """cats_dogs for a few epochs, asked for by hand: no stable version, so the first takes all."""
    with fresh_database(postgres) as database:
        made = workshop_in(tmp_path, database)
        made.lineage_url = ensure_database(postgres.url(OWNER), f"lineage_{uuid4().hex[:12]}")
        folder = made.families / "cats_dogs"
        shutil.copytree(ROOT / "bentos" / "cats_dogs", folder, ignore=shutil.ignore_patterns("__pycache__"))
        spec = (folder / "model.yaml").read_text()
        (folder / "model.yaml").write_text(spec.replace("threshold: 0.6", "threshold: 0"))
        photos = Shop(made, find_family(made.families, "cats_dogs"))
        photos.give(48)
        jobs.ask(
            made.engine,
            JobKind.RETRAIN,
            f"retrain:cats_dogs:hand:{uuid4()}",
            model="cats_dogs",
            asked_by="a test",
            reason="a test",
            arguments={"options": {"epochs": "4", "width": "0.1"}},
        )
        states = made.layout.training / "cats_dogs"

        def one_epoch_is_kept() -> bool:
            found = list(states.glob("*/checkpoints/state.json"))
            return bool(found) and len(json.loads(found[0].read_text())["validation_losses"]) >= 1

        reached = killed(photos, one_epoch_is_kept, None)
        kept = [len(json.loads(f.read_text())["validation_losses"]) for f in states.glob("*/checkpoints/state.json")]
        figures.true(
            f"cats_dogs was killed after epoch {kept} of 4 (last seen: {reached})", holds=kept in ([1], [2], [3])
        )
        verify(photos, figures, 0, None, "an epoch's end of cats_dogs")
