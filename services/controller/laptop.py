"""The platform on one machine: its own processes, the demonstration's training, and the reconcile loop on top."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import httpx
from loguru import logger
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from canari.heartbeat import Pulse
from canari.keys import ensure_signing_key
from canari.launch.databases import Urls, described, embedded, prepare
from canari.launch.launcher import State
from canari.launch.probe import answers
from canari.launch.processes import Program, Supervisor, stopping_order
from canari.launch.versions import ProcessLauncher
from canari.settings import Layout, Settings
from canari.store.engine import connect
from canari.store.migrate import ensure_partitions
from canari.tokens import public_pem
from canari.traffic.envoy_files import EnvoyFiles
from services.controller.accounts import ensure_sample_accounts
from services.controller.bento_token import bento_token
from services.controller.demo import Demo
from services.controller.families import WatchedFamilies
from services.controller.jobs import Jobs
from services.controller.loop import Observed, Reconciler

_HOUSEKEEPING_SECONDS = 3600.0
_STARTING_SECONDS = 120.0


class Laptop:
    """Everything `canari up` runs. `step` never waits for long; call it until `waiting_for` is empty, and then on."""

    def __init__(self, settings: Settings, *, demo: bool, jobs: bool) -> None:
        self.settings = settings
        self.layout: Layout = settings.layout
        self.layout.create()
        self._key = ensure_signing_key(self.layout.keys)
        self.supervisor = Supervisor(self.layout.processes, self.layout.logs)
        self._postgres = embedded(settings)
        self._envoy = EnvoyFiles(self.layout.envoy, self.layout.sockets, host=settings.host, port=settings.port)
        if self.supervisor.adopted("envoy") is None:
            self._envoy.reset()
        self._urls: Urls | None = None
        self._engine: Engine | None = None
        self._reconciler: Reconciler | None = None
        self._demo = Demo(self.layout, self.supervisor) if demo else None
        self._jobs = Jobs(settings.schedules, self.supervisor) if jobs else None
        self._started_at = time.monotonic()
        self._families = WatchedFamilies(settings.families_dir)
        self._pulse = Pulse(settings.heartbeat_health_url)
        self._housekeeping_at = 0.0
        self.observed: list[Observed] = []

    @property
    def url(self) -> str:
        """Where people reach the platform."""
        return f"http://{self.settings.host}:{self.settings.port}"

    @property
    def in_force(self) -> bool:
        """Whether the gateway splits every model's traffic as wanted."""
        return all(seen.in_force for seen in self.observed)

    def step(self) -> list[str]:
        """Bring everything one step nearer to running; returns what is still being waited for."""
        try:
            waiting = self._step()
        except (SQLAlchemyError, httpx.HTTPError) as error:
            logger.warning("the database or the gateway is away, trying again: {}", str(error).splitlines()[0])
            return ["the database and the gateway"]
        if not waiting:
            self._pulse.beat(f"{len(self.observed)} models answer")
        return waiting

    def stop(self) -> None:
        """End everything this platform runs: first what takes requests in, last the database."""
        for group in stopping_order(self.supervisor.known()):
            self.supervisor.stop(group)
        if self._engine is not None:
            self._engine.dispose()

    def _step(self) -> list[str]:
        if self._postgres is not None and not self._database_runs():
            return ["PostgreSQL"]
        urls = self._migrated()
        waiting = [p.name for p in self._programs(urls) if self.supervisor.ensure(p) is not State.READY]
        families = self._families.current()
        reconciler = self._loop(urls)
        if self.supervisor.ensure(self._envoy.program) is not State.READY:
            waiting.append("the gateway")
        else:
            reconciler.register([family.spec for family in families])
            self.observed = reconciler.tick()
            if self._demo is not None:
                waiting += self._demo.step(reconciler.engine, families, self._job_environment(urls))
            waiting += [f"{seen.model} to load" for seen in self.observed if seen.unanswered]
            self._do_jobs(reconciler.engine, urls, ready=not waiting)
        self._keep_house(reconciler.engine)
        return waiting

    def _database_runs(self) -> bool:
        assert self._postgres is not None
        if self.supervisor.pid("postgres") is None:
            self._postgres.prepare()
        return self.supervisor.ensure(self._postgres.program()) is State.READY

    def _migrated(self) -> Urls:
        if self._urls is None:
            self._urls = prepare(self.settings, self._postgres)
        return self._urls

    def _programs(self, urls: Urls) -> list[Program]:
        probes = {"feedback": "/api/health", "portal": "/healthz", "fetcher": "/healthz"}
        return [self._service(name, urls, probe) for name, probe in probes.items()]

    def _service(self, name: str, urls: Urls, probe: str) -> Program:
        socket = self.layout.socket(name)
        environment = dict(self._shared())
        if name == "feedback":
            environment |= {
                "CANARI_DATABASE_URL": urls.app,
                "CANARI_DATA_DIR": str(self.layout.root),
                "CANARI_SECURE_COOKIES": str(self.settings.secure_cookies).lower(),
            }
        if name == "fetcher":
            host = "127.0.0.1" if self.settings.host in {"0.0.0.0", "::"} else self.settings.host  # noqa: S104 - as given
            environment["CANARI_GATEWAY_URL"] = f"http://{host}:{self.settings.port}"
            # Its own settings, which mean nothing to anyone else.
            environment |= {k: v for k, v in os.environ.items() if k.startswith("CANARI_FETCHER_")}
        return Program(
            name=name,
            argv=(sys.executable, "-m", f"services.{name}", "--uds", str(socket)),
            ready=lambda: answers(socket, probe),
            environment=environment,
            folder=Path(__file__).resolve().parents[2],
        )

    def _shared(self) -> Mapping[str, str]:
        return {"CANARI_LOG_FORMAT": self.settings.log_format, "CANARI_LOG_LEVEL": self.settings.log_level}

    def _loop(self, urls: Urls) -> Reconciler:
        if self._reconciler is None:
            self._engine = connect(urls.app)
            launcher = ProcessLauncher(
                self.layout,
                self.supervisor,
                public_key=public_pem(self._key).decode(),
                token=self._bento_token,
                shared=dict(self._shared()),
            )
            self._reconciler = Reconciler(self._engine, launcher, self._envoy)
            ensure_sample_accounts(self._engine, self.layout.keys)
        return self._reconciler

    def _bento_token(self, model: str, number: int) -> str:
        token, _ = bento_token(self._key, model, number)
        return token

    def _do_jobs(self, engine: Engine, urls: Urls, *, ready: bool) -> None:
        if self._jobs is None or (self._demo is not None and self._demo.busy):
            return
        # People come first; but what never gets ready must not keep the jobs from their work.
        if ready or time.monotonic() - self._started_at > _STARTING_SECONDS:
            self._jobs.step(engine, self._job_environment(urls))

    def _job_environment(self, urls: Urls) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if name.startswith("CANARI_")},
            **self._shared(),
            "CANARI_DATABASE_URL": urls.app,
            "CANARI_LINEAGE_URL": urls.lineage,
            "CANARI_DATA_DIR": str(self.layout.root),
            "CANARI_FAMILIES_DIR": str(self.settings.families_dir),
        }

    def _keep_house(self, engine: Engine) -> None:
        now = time.monotonic()
        if now >= self._housekeeping_at:
            ensure_partitions(engine, datetime.now(UTC))
            self._housekeeping_at = now + _HOUSEKEEPING_SECONDS

    def report(self, waiting: list[str]) -> dict[str, object]:
        """What `canari status` shows of the processes and versions, as JSON values."""
        return {
            "url": self.url,
            "waiting_for": waiting,
            "databases": described(self._urls),
            "jobs": self._jobs.running if self._jobs is not None else [],
            "processes": [
                {"name": name, "pid": self.supervisor.pid(name), "deaths": self.supervisor.restarts(name)}
                for name in sorted(self.supervisor.known())
            ],
            "models": [
                {
                    "model": seen.model,
                    "stable": seen.stable,
                    "canary": seen.rollout.canary if seen.rollout else None,
                    "weights": {str(s.arm.version): s.weight for s in seen.split.shares},
                    "states": {str(number): state.value for number, state in seen.states.items()},
                    "trouble": seen.trouble,
                    "in_force": seen.in_force,
                }
                for seen in self.observed
            ],
        }


def write_report(layout: Layout, report: dict[str, object]) -> None:
    """Replace the status file that commands read. It may hold the database's password: it is this user's alone."""
    fresh = layout.root / "status.json.new"
    fresh.touch(mode=0o600)
    fresh.write_text(json.dumps(report, indent=1))
    fresh.replace(layout.root / "status.json")
