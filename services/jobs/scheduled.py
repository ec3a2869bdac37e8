"""The commands that are run now and then, by CronJobs, by `canari up` or by hand: evaluate, retrain, retention."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from loguru import logger
from rich.console import Console
from sqlalchemy import Engine

from canari import heartbeat
from canari.errors import CanariError
from canari.runtime.logs import configure
from canari.settings import Settings
from canari.store import jobs, rollouts
from canari.store.engine import connect
from canari.store.jobs import Job
from canari.store.migrate import wait_for_schema
from canari.types import JobKind, JobState
from services.jobs import due, evaluate
from services.jobs.asking import Tell
from services.jobs.due import Wanted
from services.jobs.evaluate import Evaluated
from services.jobs.progress import Report, reporting
from services.jobs.running import Running, holder

_SINCE = "24h"

Model = Annotated[str | None, typer.Option(help="This model alone.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and why, and do nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Timeout = Annotated[float, typer.Option(min=1, help="Seconds after which it gives up waiting for the database.")]


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    for command, name in ((evaluate_, "evaluate"), (retrain, "retrain"), (retention, "retention")):
        app.command(name)(command)


def evaluate_(
    model: Model = None,
    since: Annotated[
        str, typer.Option(help="The window's beginning: 24h or 7d before its end, or a moment.", show_default=_SINCE)
    ] = "",
    until: Annotated[
        str | None, typer.Option(help="The window's end, such as 2026-01-31T06:00Z; else as the schedule says.")
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    timeout: Timeout = 300,
) -> None:
    """Measure how each live version did, and keep one row for each; the schedule's newest window is done once.

    With a model, a beginning or an end it is done by hand, as often as one likes.
    """
    now = datetime.now(UTC)
    with _platform(timeout) as (engine, settings, tell), reporting() as report:
        if model is not None:
            _require(engine, model)
        if model or since or until:
            begin, end = evaluate.window(since or _SINCE, until, now)
            moments = {"since": begin.isoformat(), "until": end.isoformat()}
            wanted = due.by_hand(JobKind.EVALUATE, model, moments)
        else:
            wanted = due.by_schedule(JobKind.EVALUATE, settings.evaluate_schedule, now)
        evaluating = _Evaluating(engine, settings)
        if dry_run:
            tell(_would(engine, wanted))
            result = evaluating.measure(wanted.model, wanted.arguments, report, keep=False)
        else:
            job = due.do(engine, wanted, evaluating.work, report, tell)
            heartbeat.ping(settings.heartbeat_evaluate_url, job.state is JobState.DONE, _told(job))
            result = _ended(job, tell)
    if as_json:
        _print_json(result.get("evaluations", []))
    elif evaluating.measured is not None:
        sys.stdout.write(f"{result['since']} to {result['until']}\n")
        Console(width=160 if not sys.stdout.isatty() else None).print(evaluate.as_table(evaluating.measured))


def retrain(model: Model = None, dry_run: DryRun = False, as_json: AsJson = False, timeout: Timeout = 300) -> None:
    """Look whether each model is to be trained again, and why; train those, and propose what they became."""
    from services.jobs.retrain import retrain_due

    with _platform(timeout) as (engine, settings, tell):
        if model is not None:
            _require(engine, model)
        if not dry_run and JobKind.EVALUATE in jobs.waiting(engine):
            # Asked for by hand, it would else wait for its own schedule; and what it finds may be a reason to train.
            with reporting() as report:
                due.do_waiting(engine, JobKind.EVALUATE, _Evaluating(engine, settings).work, report)
        found = retrain_due(engine, settings, model=model, dry_run=dry_run, holder=holder(), tell=tell)
        heartbeat.ping(settings.heartbeat_retrain_url, ok=True)
    if as_json:
        _print_json(found)


def retention(dry_run: DryRun = False, as_json: AsJson = False, timeout: Timeout = 300) -> None:
    """Delete what may be kept no longer, and what people had erased; the schedule's newest window is done once."""
    from services.jobs.retention import forget

    with _platform(timeout) as (engine, settings, tell), reporting() as report:
        wanted = due.by_schedule(JobKind.RETENTION, settings.retention_schedule, datetime.now(UTC))
        if dry_run:
            tell(_would(engine, wanted))
            result = forget(engine, settings, dry_run=True, report=report)
        else:

            def work(running: Running) -> Mapping[str, Any]:
                return forget(engine, settings, dry_run=False, report=running.report)

            job = due.do(engine, wanted, work, report, tell)
            heartbeat.ping(settings.heartbeat_retention_url, job.state is JobState.DONE, _told(job))
            result = _ended(job, tell)
    if as_json:
        _print_json(result)
    else:
        sys.stdout.writelines(f"{name.replace('_', ' ')}: {value}\n" for name, value in result.items())


class _Evaluating:
    """Evaluations as the jobs want them; `measured` are the figures of the last one that was done here."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self.measured: list[Evaluated] | None = None

    def work(self, running: Running) -> Mapping[str, Any]:
        job = running.job
        return self.measure(job.model, {"until": job.created_at.isoformat(), **job.arguments}, running.report)

    def measure(
        self, model: str | None, arguments: Mapping[str, Any], report: Report, *, keep: bool = True
    ) -> Mapping[str, Any]:
        begin, end = evaluate.window(arguments.get("since", _SINCE), arguments.get("until"), datetime.now(UTC))
        self.measured = evaluate.evaluate(
            self._engine, self._settings, begin, end, model=model, dry_run=not keep, report=report
        )
        return {
            "since": begin.isoformat(),
            "until": end.isoformat(),
            "evaluations": [one.document() for one in self.measured],
        }


@contextmanager
def _platform(timeout: float) -> Iterator[tuple[Engine, Settings, Tell]]:
    """The migrated database, waited for; being told to end raises SystemExit, so that what is held is given back."""
    settings = Settings()
    configure(settings.log_format, settings.log_level)
    if settings.database_url is None:
        raise CanariError("CANARI_DATABASE_URL is not set: give the application role's URL, postgresql://...")
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    engine = connect(settings.database_url, pool=2)
    try:
        wait_for_schema(engine, seconds=timeout, tell=lambda what: logger.info("waiting for {}", what))
        yield engine, settings, logger.info
    finally:
        engine.dispose()


def _require(engine: Engine, model: str) -> None:
    known = rollouts.desired(engine)
    if model not in known:
        raise CanariError(f"there is no model {model!r}; the models are: {', '.join(known) or 'none yet'}")


def _would(engine: Engine, wanted: Wanted) -> str:
    """What a run that is not dry would do, and why."""
    job = jobs.of_keys(engine, [wanted.key]).get(wanted.key)
    if job is None:
        return f"{wanted.key} would be done: {wanted.reason}"
    if job.over:
        return f"{wanted.key} would not be done again: {_told(job)}"
    return f"{wanted.key} would be gone on with: {_told(job)}, {wanted.reason}"


def _told(job: Job) -> str:
    said = f"job {job.id} is {job.state}"
    return f"{said}: {job.error}" if job.error else said


def _ended(job: Job, tell: Tell) -> Mapping[str, Any]:
    """The result of a job; raises CanariError where it failed."""
    if job.state is JobState.FAILED:
        raise CanariError(f"{job.key}: {_told(job)}")
    tell(f"{job.key}: {_told(job)}")
    return job.result


def _print_json(found: object) -> None:
    sys.stdout.write(json.dumps(found, ensure_ascii=False, default=str) + "\n")
