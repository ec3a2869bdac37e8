"""The controller on Kubernetes: `python -m services.controller.cluster`.

It polls, so that nothing it once missed is missed for ever. Of several, the holder of the Lease acts; the others wait.
"""

from __future__ import annotations

import argparse
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from uuid import uuid4

from kubernetes.client import ApiClient
from loguru import logger
from pydantic import Field
from pydantic_settings import SettingsConfigDict
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from canari.errors import CanariError
from canari.heartbeat import Pulse
from canari.keys import signing_key
from canari.kube import Kube, connect
from canari.launch.cluster_config import ClusterConfig, load_config
from canari.runtime.logs import configure
from canari.settings import Settings
from canari.store import engine as store
from canari.store.rehearsal import rehearsal
from canari.tokens import public_pem
from canari.traffic.gateway_api import GatewayRoutes
from services.controller.bento_token import bento_token
from services.controller.cluster_loop import ClusterController
from services.controller.health import Health
from services.controller.lease import Lease, LeaseLostError

_PORT = 8000


class ClusterSettings(Settings):
    """What the controller on a cluster may be told besides."""

    model_config = SettingsConfigDict(env_prefix="CANARI_", extra="ignore")

    cluster_config: Path = Field(default=Path("/etc/canari/cluster.yaml"), description="The controller's own file.")


def main() -> int:
    """Run until SIGINT or SIGTERM, or once; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m services.controller.cluster", description=__doc__)
    parser.add_argument("--once", action="store_true", help="one round, then end: 0 if it went well, else 1")
    parser.add_argument(
        "--dry-run", action="store_true", help="one round that tells what it would change, and changes nothing"
    )
    parser.add_argument("--port", type=int, default=_PORT, help="of /healthz, /readyz and /metrics (%(default)s)")
    arguments = parser.parse_args()
    settings = ClusterSettings()
    try:
        config = load_config(settings.cluster_config)
        configure(settings.log_format, config.log_level)
        process = Process(settings, config)
        if arguments.dry_run:
            return process.rehearse()
        return process.once() if arguments.once else process.run(arguments.port)
    except CanariError as error:
        sys.stderr.write(f"canari: {error}\n")
        return 1


class Process:
    """One controller process: what it is told, its lease, and its ways to run."""

    def __init__(self, settings: ClusterSettings, config: ClusterConfig) -> None:
        if settings.database_url is None:
            raise CanariError("CANARI_DATABASE_URL is not set: give the URL of the platform's PostgreSQL")
        self._url = settings.database_url
        self._config = config
        self._key = signing_key(settings.keys)
        self._pulse = Pulse(settings.heartbeat_health_url)
        self._client: ApiClient = connect()
        # As Kubernetes' own components are told apart: a restarted container has the same host name.
        self._identity = f"{socket.gethostname()}_{uuid4().hex[:8]}"
        self.lease = Lease(Kube(self._client, config.namespace), f"{config.instance}-controller", self._identity)

    def run(self, port: int) -> int:
        """Act whenever the lease is held, until a signal comes; 0."""
        stop = Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        health = Health()
        with self._connected() as engine, self.lease.kept(), health.served(port):
            Loop(self._controller(engine), self.lease, health, self._config.poll_seconds, self._pulse).run(stop)
        return 0

    def once(self) -> int:
        """One round, if no other controller acts; 0 if it went well."""
        while not self.lease.try_hold():
            if self.lease.renewed_by_another:
                raise CanariError(f"{self.lease.holder} acts: it holds the lease of this platform's controllers")
            time.sleep(1)
        with self._connected() as engine, self.lease.kept():
            return self._round(self._controller(engine))

    def rehearse(self) -> int:
        """One round that neither the cluster nor the database keeps."""
        with rehearsal(self._url) as engine:
            return self._round(self._controller(engine, dry_run=True))

    def _controller(self, engine: Engine, *, dry_run: bool = False) -> ClusterController:
        kube = Kube(
            self._client, self._config.namespace, dry_run=dry_run, guard=None if dry_run else self.lease.require
        )
        return ClusterController(
            kube,
            self._config,
            engine,
            public_key=public_pem(self._key).decode(),
            token=partial(bento_token, self._key),
            routes=partial(GatewayRoutes, kube, self._config),
            instance=self._identity,
        )

    @contextmanager
    def _connected(self) -> Iterator[Engine]:
        engine = store.connect(self._url)
        try:
            yield engine
        finally:
            engine.dispose()

    @staticmethod
    def _round(controller: ClusterController) -> int:
        try:
            observed = controller.tick()
        except (CanariError, SQLAlchemyError, LeaseLostError) as error:
            logger.error("the round failed: {}", first_line(error))
            return 1
        for seen in observed:
            weights = ", ".join(f"{share.weight} % to version {share.arm.version}" for share in seen.split.shares)
            logger.info("{}: {}", seen.model, weights or "no version answers")
        return 0


class Loop:
    """Rounds on a clock, whatever is away: a trouble is logged when it comes and when it goes."""

    def __init__(
        self, controller: ClusterController, lease: Lease, health: Health, poll_seconds: float, pulse: Pulse
    ) -> None:
        self._pulse = pulse
        self._controller = controller
        self._lease = lease
        self._health = health
        self._poll_seconds = poll_seconds
        self._trouble: str | None = None

    def run(self, stop: Event) -> None:
        """Go round until told to stop."""
        while not stop.is_set():
            began = time.monotonic()
            if self._lease.held:
                self._act(began)
            else:
                self._health.stands_by(self._lease.trouble)
            self._health.beat(leader=self._lease.held)
            stop.wait(max(0.0, self._poll_seconds - (time.monotonic() - began)))

    def _act(self, began: float) -> None:
        try:
            observed = self._controller.tick()
        except LeaseLostError as error:
            logger.warning("{}: this controller stops acting", error)
        except (CanariError, SQLAlchemyError) as error:
            self._tell(first_line(error))
            self._health.failed(first_line(error))
        else:
            self._tell(None)
            self._health.succeeded(time.monotonic() - began, observed)
            if not any(seen.unanswered for seen in observed):
                self._pulse.beat(f"{len(observed)} models answer")

    def _tell(self, trouble: str | None) -> None:
        if trouble and self._trouble is None:
            logger.warning("the cluster or the database is away, trying again: {}", trouble)
        elif trouble is None and self._trouble:
            logger.info("the cluster and the database answer again")
        self._trouble = trouble


def first_line(error: Exception) -> str:
    """The part of an error that people read."""
    return (str(error).splitlines() or [type(error).__name__])[0]


if __name__ == "__main__":
    sys.exit(main())
