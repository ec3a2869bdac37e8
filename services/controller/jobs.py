"""The jobs of one machine: started when they are due, one at a time, behind whatever serves people."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loguru import logger
from sqlalchemy import Engine

from canari.launch.processes import Program, Supervisor
from canari.store import jobs
from canari.types import JobKind, JobState
from services.controller.schedule import due, keys

_LOOK_SECONDS = 5.0
_FIRST_WAIT, _LONGEST_WAIT = 10.0, 300.0


class Jobs:
    """Runs ``python -m services.jobs KIND`` where a window has come or a job waits. `running` is what the rows say.

    Raises CanariError where a schedule is none.
    """

    def __init__(self, schedules: Mapping[JobKind, str], supervisor: Supervisor) -> None:
        # A schedule that is none is told of before anything runs.
        keys(schedules, datetime.now(UTC))
        self._schedules = schedules
        self._supervisor = supervisor
        self._look_at = 0.0
        # By kind: how often it was started and was due still, and when it may be started next.
        self._tries: dict[JobKind, int] = {}
        self._not_before: dict[JobKind, float] = {}
        self.running: list[dict[str, Any]] = []

    def step(self, engine: Engine, environment: Mapping[str, str]) -> None:
        """Look every few seconds, and start what is due first unless something runs."""
        busy = self._busy(environment)
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_SECONDS
        self.running = [_shown(job) for job in jobs.newest(engine, state=JobState.RUNNING)]
        if not busy:
            self._start_first(self._due(engine), environment, now)

    def _busy(self, environment: Mapping[str, str]) -> bool:
        """Whether one runs, also one that an earlier controller started; those that ended are forgotten."""
        alive = [kind for kind in self._schedules if not self._supervisor.forget_ended(_name(kind))]
        for kind in alive:
            self._supervisor.ensure(_program(kind, environment))
        return bool(alive)

    def _due(self, engine: Engine) -> list[JobKind]:
        now = datetime.now(UTC)
        rows = jobs.of_keys(engine, [*keys(self._schedules, now).values()])
        ended = {key: row.ended_at for key, row in rows.items()}
        return due(self._schedules, ended, jobs.waiting(engine), now)

    def _start_first(self, kinds: list[JobKind], environment: Mapping[str, str], now: float) -> None:
        self._tries = {kind: tries for kind, tries in self._tries.items() if kind in kinds}
        for kind in kinds:
            tries = self._tries.get(kind, 0)
            if tries and now < self._not_before[kind]:
                continue
            self._tries[kind] = tries + 1
            self._not_before[kind] = now + min(_LONGEST_WAIT, _FIRST_WAIT * 2**tries)
            if tries:
                logger.info("{} has ended and is due still: it is started again, see {}.log", kind, _name(kind))
            self._supervisor.ensure(_program(kind, environment))
            return


def _name(kind: JobKind) -> str:
    return f"job-{kind}"


def _program(kind: JobKind, environment: Mapping[str, str]) -> Program:
    return Program(
        name=_name(kind),
        argv=("nice", "-n", "10", sys.executable, "-m", "services.jobs", kind),
        ready=lambda: True,
        environment=environment,
        folder=Path(__file__).resolve().parents[2],
    )


def _shown(job: jobs.Job) -> dict[str, Any]:
    since = None if job.started_at is None else job.started_at.isoformat()
    return {"id": job.id, "kind": job.kind, "model": job.model, "key": job.key, "since": since, "progress": job.place}
