"""`canari job`: asking a platform for jobs, and seeing what became of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from canari.cli import app
from canari.errors import CanariError
from canari.store import jobs
from canari.types import JobKind, JobState
from tests.conftest import Database
from tests.integration.cli.conftest import Elsewhere

LEASE = timedelta(minutes=1)


def test_a_job_is_asked_for_listed_and_shown(elsewhere: Elsewhere) -> None:
    asked = elsewhere.canari(
        "job", "run", "retrain", "drift", "--reason", "winter", "--option", "epochs=3", "--tune", "4"
    )
    assert (asked["kind"], asked["model"], asked["state"], asked["asked_by"]) == ("retrain", "drift", "queued", "ada")
    assert asked["arguments"] == {"options": {"epochs": "3"}, "seed": 0, "tune": 4}
    evaluated = elsewhere.canari("job", "run", "evaluate", "--since", "7d")
    assert (evaluated["model"], evaluated["arguments"]) == ("drift", {"since": "7d"})
    retained = elsewhere.canari("job", "run", "retention")
    assert retained["model"] is None
    assert [job["id"] for job in elsewhere.canari("job", "list")] == [retained["id"], evaluated["id"], asked["id"]]
    assert [job["id"] for job in elsewhere.canari("job", "list", "drift", "--kind", "retrain")] == [asked["id"]]
    assert elsewhere.canari("job", "show", str(asked["id"])) == asked


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("run", "retrain"), "which model"),
        (("run", "retrain", "horses"), "no model 'horses'"),
        (("run", "retrain", "drift", "--option", "epochs"), "KEY=VALUE"),
        (("run", "retention", "--seed", "1"), "Extra inputs are not permitted"),
        (("run", "evaluate", "--dry-run"), "where the platform's data lie"),
        (("show", "999999"), "there is no job 999999"),
    ],
)
def test_what_cannot_be_asked_is_told(elsewhere: Elsewhere, arguments: tuple[str, ...], told: str) -> None:
    with pytest.raises(CanariError, match=told):
        elsewhere.canari("job", *arguments)


def _worked_on(engine: Engine, state: JobState, error: str | None) -> None:
    """Takes the job that comes, says how far it is, and ends it."""
    deadline = time.monotonic() + 30
    while (job := jobs.take(engine, JobKind.RETRAIN, holder="a test", lease=LEASE)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    place: Mapping[str, Any] = {"stage": "train", "done": 1, "total": 2, "figures": {}}
    jobs.renew(engine, job, lease=LEASE, progress={**place, "facts": {}})
    time.sleep(1.5)
    jobs.finish(engine, job, state, result={"version": 2}, error=error)


@pytest.mark.parametrize(
    ("state", "error", "status"),
    [(JobState.DONE, None, 0), (JobState.REFUSED, "it is worse", 3), (JobState.FAILED, "no memory", 1)],
)
def test_a_followed_job_is_told_to_its_end_and_its_outcome_is_the_status(
    elsewhere: Elsewhere, state: JobState, error: str | None, status: int
) -> None:
    worker = threading.Thread(target=_worked_on, args=(elsewhere.database.engine, state, error))
    worker.start()
    environment = {"CANARI_URL": elsewhere.url, "CANARI_API_TOKEN": elsewhere.token, "COLUMNS": "200"}
    done = CliRunner(env=environment).invoke(app, ["job", "run", "retrain", "drift", "--follow"])
    worker.join()
    assert done.exit_code == status, done.output
    assert f"retrain of drift: {state}" in done.output
    assert error is None or error in done.output
    assert "version: 2" in done.output


def test_what_would_be_done_is_said_and_nothing_is_done(
    capfd: pytest.CaptureFixture[str], database: Database, tmp_path: Path
) -> None:
    environment = {"CANARI_DATABASE_URL": database.owner_url, "COLUMNS": "200"}
    done = CliRunner(env=environment).invoke(app, ["job", "run", "evaluate", "--dry-run", "--data-dir", str(tmp_path)])
    assert done.exit_code == 0
    assert "would be done: due at" in capfd.readouterr().err
    assert jobs.newest(database.engine) == []
