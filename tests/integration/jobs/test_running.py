"""Jobs on a real database: taken, worked on, killed, taken over, and ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from canari.store import jobs
from canari.store.jobs import Job
from canari.types import JobKind, JobState
from services.jobs.running import LEASE, Refused, Running, holder, run
from tests.conftest import ROOT, Database

_RUNNER = """
import signal, sys, time
from canari.store import jobs
from canari.store.engine import connect
from canari.types import JobKind
from services.jobs.running import LEASE, holder, run

def work(running):
    running.report("first", 1, 3, {})
    running.note(version=7)
    running.report("second", 2, 3, {})
    print("noted", flush=True)
    time.sleep(60)

# A shell in the background has its children ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
engine = connect(sys.argv[1], pool=1)
run(engine, jobs.take(engine, JobKind.RETRAIN, holder=holder(), lease=LEASE), work, lambda *_: None)
"""


def quiet(_stage: str, _done: int, _total: int, _figures: Mapping[str, float]) -> None:
    """A report that nobody reads."""


def nothing(_running: Running) -> Mapping[str, Any]:
    return {}


@pytest.fixture
def engine(swept_database: Database) -> Engine:
    return swept_database.engine


def asked(engine: Engine, key: str = "retrain:line:v1:d") -> Job:
    job, _ = jobs.ask(engine, JobKind.RETRAIN, key, model="line", asked_by="a test", reason="to see")
    return job


def taken(engine: Engine) -> Job:
    job = jobs.take(engine, JobKind.RETRAIN, holder=holder(), lease=LEASE)
    assert job is not None
    return job


def run_out(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET lease_until = now() - interval '1 second', not_before = now()"))


def taken_by_a_process_that(engine: Engine, url: str, number: int) -> Job:
    """Asks for a job, has a process take it, and ends that by a signal amid its work."""
    job = asked(engine)
    process = subprocess.Popen([sys.executable, "-c", _RUNNER, url], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "noted\n"
    os.kill(process.pid, number)
    process.wait(10)
    process.stdout.close()
    found = jobs.read(engine, job.id)
    assert found is not None
    return found


def test_what_the_work_returns_is_kept_as_the_jobs_result(engine: Engine) -> None:
    asked(engine)
    seen: list[str] = []
    ended = run(
        engine, taken(engine), lambda running: {"facts": dict(running.facts)}, lambda stage, *_: seen.append(stage)
    )
    assert (ended.state, ended.result, ended.holder, ended.error) == (JobState.DONE, {"facts": {}}, None, None)
    assert ended.ended_at is not None


def test_the_runner_after_a_killed_one_takes_over_once_the_lease_is_out_and_sees_its_facts(
    engine: Engine, swept_database: Database
) -> None:
    left = taken_by_a_process_that(engine, swept_database.app_url, signal.SIGKILL)
    assert left.state is JobState.RUNNING
    assert left.progress["facts"] == {"version": 7}
    assert jobs.take(engine, JobKind.RETRAIN, holder=holder(), lease=LEASE) is None
    run_out(engine)
    ended = run(engine, taken(engine), lambda running: {"continued": running.facts["version"]}, quiet)
    assert (ended.id, ended.state, ended.result, ended.attempts) == (left.id, JobState.DONE, {"continued": 7}, 2)


def test_a_runner_that_is_told_to_end_gives_its_job_back_uncounted(engine: Engine, swept_database: Database) -> None:
    left = taken_by_a_process_that(engine, swept_database.app_url, signal.SIGINT)
    assert (left.state, left.attempts, left.holder) == (JobState.QUEUED, 0, None)
    assert left.progress["facts"] == {"version": 7}
    assert taken(engine).id == left.id


def test_progress_is_written_down_while_the_work_goes_on(engine: Engine) -> None:
    asked(engine)
    job = taken(engine)

    def work(running: Running) -> Mapping[str, Any]:
        running.report("train", 3, 10, {"accuracy": 0.5})
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            found = jobs.read(engine, job.id)
            assert found is not None
            if found.progress.get("stage") == "train":
                return dict(found.progress)
            time.sleep(0.05)
        return {}

    ended = run(engine, job, work, quiet)
    written = {"stage": "train", "done": 3, "total": 10, "figures": {"accuracy": 0.5}, "facts": {}}
    assert ended.result == ended.progress == written


def test_what_was_reported_last_is_kept_however_soon_the_work_ended(engine: Engine) -> None:
    asked(engine)

    def work(running: Running) -> Mapping[str, Any]:
        for done in range(4):
            running.report("count", done, 3, {})
        return {}

    assert run(engine, taken(engine), work, quiet).progress["done"] == 3


def test_a_lease_is_renewed_while_the_work_lasts(engine: Engine) -> None:
    asked(engine)
    job = jobs.take(engine, JobKind.RETRAIN, holder=holder(), lease=timedelta(seconds=1))
    assert job is not None

    def work(running: Running) -> Mapping[str, Any]:
        running.report("wait", 0, 1, {})
        time.sleep(1.5)
        return {"another": jobs.take(engine, JobKind.RETRAIN, holder=holder(), lease=LEASE) is not None}

    assert run(engine, job, work, quiet).result == {"another": False}


@pytest.mark.parametrize("way", ["report", "note", "return", "raise"])
def test_a_runner_that_lost_its_lease_stops_and_writes_nothing(engine: Engine, way: str) -> None:
    asked(engine)
    later: list[Job] = []

    def work(running: Running) -> Mapping[str, Any]:
        run_out(engine)
        later.append(taken(engine))
        if way == "note":
            running.note(mine=True)
        if way == "raise":
            raise ValueError("too late")
        deadline = time.monotonic() + 10
        while way == "report" and time.monotonic() < deadline:
            running.report(f"stage {time.monotonic()}", 0, 1, {})
            time.sleep(0.1)
        return {"mine": True}

    first = taken(engine)
    left = run(engine, first, work, quiet)
    assert (left.state, left.holder, left.result, left.error) == (JobState.RUNNING, later[0].holder, {}, None)
    assert left.progress == {}
    assert run(engine, later[0], nothing, quiet).state is JobState.DONE


def test_a_refusal_ends_the_job_with_its_reason_and_what_was_found(engine: Engine) -> None:
    asked(engine)

    def work(_: Running) -> Mapping[str, Any]:
        raise Refused("there is nothing new to learn from", {"samples": 3})

    ended = run(engine, taken(engine), work, quiet)
    assert (ended.state, ended.error) == (JobState.REFUSED, "there is nothing new to learn from")
    assert ended.result == {"samples": 3}
    assert jobs.waiting(engine) == set()


def test_what_goes_wrong_is_tried_three_times_and_then_told_for_good(engine: Engine) -> None:
    asked(engine)

    def work(running: Running) -> Mapping[str, Any]:
        running.note(tries=[*running.facts.get("tries", []), running.job.attempts])
        raise ValueError("no luck")

    states = []
    for _ in range(3):
        run_out(engine)
        ended = run(engine, taken(engine), work, quiet)
        states.append(ended.state)
    assert states == [JobState.QUEUED, JobState.QUEUED, JobState.FAILED]
    assert (ended.error, ended.progress["facts"]) == ("no luck", {"tries": [1, 2, 3]})


def test_a_job_that_waits_for_its_next_try_is_not_taken_before(engine: Engine) -> None:
    asked(engine)

    def work(_: Running) -> Mapping[str, Any]:
        raise ValueError("no luck")

    assert run(engine, taken(engine), work, quiet).state is JobState.QUEUED
    assert jobs.waiting(engine) == set()
    assert jobs.take(engine, JobKind.RETRAIN, holder=holder(), lease=LEASE) is None


def test_a_job_that_takes_its_runner_down_each_time_fails_at_last(engine: Engine) -> None:
    asked(engine)
    for _ in range(10):
        taken(engine)
        run_out(engine)
    ended = run(engine, taken(engine), nothing, quiet)
    assert (ended.state, ended.error) == (JobState.FAILED, "its runner died 10 times")


def test_a_look_is_one_row_whose_end_moves_on(engine: Engine) -> None:
    for reason in ("nothing is due", "line is due"):
        jobs.touch(engine, JobKind.RETRAIN, "look:retrain", asked_by="a test", reason=reason)
    [look] = jobs.newest(engine)
    assert (look.state, look.reason, look.model) == (JobState.DONE, "line is due", None)
    assert look.ended_at is not None
    assert look.created_at < look.ended_at
    assert jobs.waiting(engine) == set()
