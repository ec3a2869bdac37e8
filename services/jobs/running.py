"""One job from when it is taken to its end: its lease renewed, its progress written down, its outcome kept.

Whatever kills the runner, the next one takes the same row over once the lease has run out, and finds the facts that the
dead one had noted.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

from loguru import logger
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from canari.errors import CanariError
from canari.store import jobs
from canari.store.jobs import Job, LeaseLostError
from canari.types import JobState
from services.jobs.progress import Report

LEASE = timedelta(seconds=60)
_RENEW_SECONDS = 15.0
_WRITE_SECONDS = 1.0
# A job that takes its runner down each time, by lack of memory for one, would else do so for ever.
_MOST_RUNS = 10

Work = Callable[["Running"], Mapping[str, Any]]


class Refused(CanariError):  # noqa: N818 - the state's own name
    """Ends a job as refused: nothing went wrong, and there is nothing to be done. `result` is kept with it."""

    def __init__(self, reason: str, result: Mapping[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.result: Mapping[str, Any] = result or {}


class Stopped(BaseException):
    """Another runner holds the job: its work stops where it is, past whatever treats an Exception as its failure."""


class Running:
    """What a job's work gets: its row as it was taken, what earlier attempts noted, and ways to say how far it is."""

    def __init__(self, engine: Engine, job: Job, report: Report) -> None:
        self.job = job
        self._engine = engine
        self._report = report
        self._facts: dict[str, Any] = dict(job.progress.get("facts", {}))
        self._place: dict[str, Any] = {}
        self._lost = False
        self._ended = threading.Event()
        self._stirred = threading.Event()
        self._writing = threading.Lock()

    @property
    def facts(self) -> Mapping[str, Any]:
        """What was noted, by this attempt and by those before."""
        return self._facts

    def report(self, stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        """Say that `stage` has done so much of its `total`; never waits for the database. Raises Stopped."""
        if self._lost:
            raise Stopped
        fresh = stage != self._place.get("stage")
        self._place = {"stage": stage, "done": done, "total": total, "figures": dict(figures)}
        if fresh:
            self._stirred.set()
        self._report(stage, done, total, figures)

    def note(self, **facts: Any) -> None:
        """Write facts (JSON values) down before going on: they outlive this process. Raises Stopped."""
        self._facts = json.loads(json.dumps({**self._facts, **facts}))
        try:
            self._write()
        except LeaseLostError:
            raise Stopped from None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Renew the lease meanwhile; what was reported last is written at the end."""
        thread = threading.Thread(target=self._keep, name=f"job-{self.job.id}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            self._stirred.set()
            thread.join()

    def _keep(self) -> None:
        written, renewed = self._place, time.monotonic()
        while not self._lost:
            self._stirred.wait(_WRITE_SECONDS)
            self._stirred.clear()
            ended = self._ended.is_set()
            if self._place is not written or time.monotonic() - renewed >= _RENEW_SECONDS:
                written = self._place
                try:
                    self._write()
                    renewed = time.monotonic()
                except LeaseLostError:
                    return
                except SQLAlchemyError as error:
                    # The lease outlasts a short absence; a long one ends with another runner, or none.
                    logger.warning("job {}: the database is away: {}", self.job.id, str(error).splitlines()[0])
            if ended:
                return
            self._ended.wait(_WRITE_SECONDS / 4)

    def _write(self) -> None:
        with self._writing:
            progress = {**self._place, "facts": self._facts}
            try:
                jobs.renew(self._engine, self.job, lease=LEASE, progress=progress)
            except LeaseLostError:
                self._lost = True
                raise


def holder() -> str:
    """A name for this process as a runner that no other ever has."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"


def run(engine: Engine, job: Job, work: Work, report: Report) -> Job:
    """Do the work of a job that was taken, and end it by what came of that; returns it as it stands then.

    What `work` returns is the job's result. Refused ends it as refused; any other Exception has it tried again, up to
    three times; where another runner holds it by now, nothing more is written. A signal that ends this process gives
    the job back to be taken at once.
    """
    if job.attempts > _MOST_RUNS:
        jobs.finish(engine, job, JobState.FAILED, result=job.result, error=f"its runner died {_MOST_RUNS} times")
        return _now(engine, job)
    running = Running(engine, job, report)
    try:
        with running.held():
            result = dict(work(running))
        jobs.finish(engine, job, JobState.DONE, result=result)
    except Refused as refused:
        jobs.finish(engine, job, JobState.REFUSED, result=refused.result, error=str(refused))
    except (LeaseLostError, Stopped):
        logger.warning("job {} ({}) is held by another runner: this one stops", job.id, job.key)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is the job's outcome
        _failed(engine, job, error)
    except (KeyboardInterrupt, SystemExit):
        with suppress(LeaseLostError):
            jobs.release(engine, job)
        raise
    return _now(engine, job)


def _failed(engine: Engine, job: Job, error: Exception) -> None:
    if not isinstance(error, CanariError):
        logger.opt(exception=error).error("job {} ({}) went wrong", job.id, job.key)
    with suppress(LeaseLostError):
        jobs.fail(engine, job, str(error) or type(error).__name__)


def _now(engine: Engine, job: Job) -> Job:
    found = jobs.read(engine, job.id)
    return job if found is None else found
