"""The jobs of one machine: real processes on a real database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from canari.errors import CanariError
from canari.launch.processes import Supervisor
from canari.store import jobs
from canari.types import JobKind, JobState
from services.controller.jobs import Jobs
from tests.conftest import Database
from tests.platform import until

HOURLY = {JobKind.EVALUATE: "7 * * * *"}


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    for name in ("pids", "logs"):
        (tmp_path / name).mkdir()
    made = Supervisor(tmp_path / "pids", tmp_path / "logs")
    yield made
    made.stop(["job-evaluate"])


def goes_on(runner: Jobs, database: Database, url: str, condition: Callable[[], bool]) -> None:
    def stepped() -> bool:
        runner.step(database.engine, {"CANARI_DATABASE_URL": url})
        return condition()

    until(stepped, 60)


def test_a_due_window_is_seen_to_once_at_low_priority_and_a_job_by_hand_beside_it(
    swept_database: Database, supervisor: Supervisor
) -> None:
    database, runner = swept_database, Jobs(HOURLY, supervisor)
    niceness: list[int] = []

    def ended(rows: int) -> bool:
        pid = supervisor.pid("job-evaluate")
        if pid is not None and (found := psutil.Process(pid).nice()):
            niceness.append(found)
        done = [job for job in jobs.newest(database.engine) if job.state is JobState.DONE]
        return len(done) == rows and supervisor.known() == set()

    goes_on(runner, database, database.app_url, lambda: ended(1))
    assert set(niceness) == {10}
    jobs.ask(database.engine, JobKind.EVALUATE, "by hand", model=None, asked_by="ada", reason="to see")
    goes_on(runner, database, database.app_url, lambda: ended(2))
    assert {job.asked_by for job in jobs.newest(database.engine)} == {"schedule", "ada"}


def test_what_dies_at_once_is_not_started_again_and_again(swept_database: Database, supervisor: Supervisor) -> None:
    runner, pids = Jobs(HOURLY, supervisor), set()
    deadline = time.monotonic() + 12

    def over() -> bool:
        pids.add(supervisor.pid("job-evaluate"))
        return time.monotonic() > deadline

    goes_on(runner, swept_database, "mysql", over)
    assert 1 <= len(pids - {None}) <= 2


def test_what_an_earlier_controller_started_is_kept(
    swept_database: Database, supervisor: Supervisor, tmp_path: Path
) -> None:
    environment = {"CANARI_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    Jobs(HOURLY, supervisor).step(swept_database.engine, environment)
    until(lambda: supervisor.adopted("job-evaluate") is not None, 10)
    started = supervisor.pid("job-evaluate")
    successor = Supervisor(tmp_path / "pids", tmp_path / "logs")
    Jobs(HOURLY, successor).step(swept_database.engine, environment)
    assert successor.pid("job-evaluate") == started


def test_a_schedule_that_is_none_is_told_before_anything_runs(supervisor: Supervisor) -> None:
    with pytest.raises(CanariError, match="'often' is no schedule"):
        Jobs({JobKind.RETENTION: "often"}, supervisor)
