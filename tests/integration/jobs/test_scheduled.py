"""What CronJobs and `canari up` run: a window is done once, missed ones collapse, and killed ones are gone on with."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from canari.store import jobs
from canari.types import JobKind, JobState
from services.jobs.due import Wanted, by_hand, by_schedule, do
from services.jobs.running import Running
from tests.conftest import Database
from tests.integration.jobs.test_operations import job

NOW = datetime(2026, 11, 21, 12, 3, tzinfo=UTC)
WANTED = by_schedule(JobKind.EVALUATE, "7 * * * *", NOW)


@pytest.fixture
def engine(swept_database: Database) -> Engine:
    return swept_database.engine


def quiet(*_: object) -> None:
    """Nobody listens."""


def answered(running: Running) -> Mapping[str, Any]:
    return {"until": running.job.arguments.get("until"), "attempt": running.job.attempts}


def held_by_another(engine: Engine, wanted: Wanted, lease: timedelta) -> jobs.Job:
    jobs.ask(engine, wanted.kind, wanted.key, model=None, asked_by="schedule", reason="due")
    taken = jobs.take(engine, wanted.kind, holder="another", lease=lease)
    assert taken is not None
    return taken


def test_a_window_is_done_once_however_often_it_is_wanted(engine: Engine) -> None:
    first, again = (do(engine, WANTED, answered, quiet, quiet) for _ in range(2))
    assert (first.state, first.result) == (JobState.DONE, {"until": "2026-11-21T11:07:00+00:00", "attempt": 1})
    assert again == first
    later = do(engine, by_schedule(JobKind.EVALUATE, "7 * * * *", NOW + timedelta(days=2)), answered, quiet, quiet)
    assert [job.id for job in jobs.newest(engine)] == [later.id, first.id]


def test_what_is_done_by_hand_is_done_each_time(engine: Engine) -> None:
    first, second = (
        do(engine, by_hand(JobKind.EVALUATE, "drift", {"since": "7d"}), answered, quiet, quiet) for _ in "ab"
    )
    assert first.id != second.id
    assert (second.model, second.asked_by, second.arguments) == ("drift", "terminal", {"since": "7d"})


def test_a_killed_runs_window_is_gone_on_with_once_its_lease_is_out(engine: Engine) -> None:
    left = held_by_another(engine, WANTED, timedelta(seconds=2))
    told: list[str] = []
    ended = do(engine, WANTED, answered, quiet, told.append)
    assert (ended.id, ended.state, ended.attempts) == (left.id, JobState.DONE, 2)
    assert "is held by another: waiting to see whether that lives" in told[0]


def test_a_window_that_another_works_on_is_left_to_it(engine: Engine) -> None:
    held = held_by_another(engine, WANTED, timedelta(minutes=1))
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(0.3):
            jobs.renew(engine, held, lease=timedelta(minutes=1))

    other = threading.Thread(target=renew)
    other.start()
    try:
        left = do(engine, WANTED, answered, quiet, quiet)
    finally:
        ended.set()
        other.join()
    assert (left.state, left.holder) == (JobState.RUNNING, "another")


def test_what_fails_is_tried_again_in_its_time(engine: Engine) -> None:
    told: list[str] = []

    def hurry() -> None:
        until = time.monotonic() + 10
        while not told and time.monotonic() < until:
            time.sleep(0.05)
        with engine.begin() as connection:
            connection.execute(text("UPDATE jobs SET not_before = now()"))

    def work(running: Running) -> Mapping[str, Any]:
        if running.job.attempts == 1:
            raise ValueError("no luck")
        return answered(running)

    hurried = threading.Thread(target=hurry)
    hurried.start()
    ended = do(engine, WANTED, work, quiet, told.append)
    hurried.join()
    assert (ended.state, ended.attempts, ended.error) == (JobState.DONE, 2, None)
    assert "went wrong: no luck; it is tried again at" in told[0]


def test_jobs_of_its_kind_that_waited_are_done_on_the_way(engine: Engine) -> None:
    jobs.ask(engine, JobKind.EVALUATE, "asked before", model="drift", asked_by="ada", reason="to see")
    do(engine, WANTED, answered, quiet, quiet)
    assert {job.state for job in jobs.newest(engine)} == {JobState.DONE}


def test_the_commands_do_a_window_once_and_say_what_they_would_do(swept_database: Database) -> None:
    environment = {"CANARI_DATABASE_URL": swept_database.app_url, "CANARI_EVALUATE_SCHEDULE": "0 3 * * *"}
    dry = job("evaluate", "--dry-run", **environment)
    assert dry.returncode == 0, dry.stderr
    assert "T03:00Z would be done: due at" in dry.stderr
    assert jobs.newest(swept_database.engine) == []
    for _ in range(2):
        done = job("evaluate", "--json", **environment)
        assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
    [row] = jobs.newest(swept_database.engine)
    assert (row.key[-6:], row.state, row.attempts) == ("03:00Z", JobState.DONE, 1)
    assert "would not be done again: job" in job("evaluate", "--dry-run", **environment).stderr


@pytest.mark.parametrize("kind", JobKind)
def test_a_database_that_is_away_is_one_line(kind: JobKind) -> None:
    done = job(kind, "--timeout", "1", CANARI_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert done.returncode == 1
    assert "still waiting for the database" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_schedule_that_is_none_is_one_line(swept_database: Database) -> None:
    environment = {"CANARI_DATABASE_URL": swept_database.app_url, "CANARI_RETENTION_SCHEDULE": "often"}
    done = job("retention", **environment)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: 'often' is no schedule")
