"""Which databases the platform's parts speak to, and how a command finds them."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import IO

from canari.errors import CanariError
from canari.launch.launcher import State
from canari.launch.postgres import OWNER, EmbeddedPostgres
from canari.launch.processes import Supervisor
from canari.settings import Layout, Settings
from canari.store.migrate import APP_ROLE, ensure_database, migrate

_START_SECONDS = 60.0


@dataclass(frozen=True)
class Urls:
    """Where the owner migrates, where the application role works, and where lineage is kept."""

    owner: str
    app: str
    lineage: str


def prepare(settings: Settings, postgres: EmbeddedPostgres | None) -> Urls:
    """Make the databases that are missing and migrate to the newest schema; the server must answer."""
    if postgres is not None:
        server = postgres.url(OWNER)
        owner = ensure_database(server, "canari")
        app = postgres.url(APP_ROLE, "canari")
    else:
        app = settings.database_url or ""
        owner = settings.database_owner_url or app
    lineage = settings.lineage_url or ensure_database(owner, "mlflow")
    migrate(owner)
    return Urls(owner, app, lineage)


def embedded(settings: Settings) -> EmbeddedPostgres | None:
    """The data folder's own PostgreSQL, unless the settings name a server."""
    return None if settings.database_url else EmbeddedPostgres(settings.layout.postgres, settings.layout.sockets)


def take_lock(layout: Layout) -> IO[str] | None:
    """The data folder's lock, held while the file is open; None where another process holds it."""
    lock = layout.lock.open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def running_urls(layout: Layout) -> Urls | None:
    """The databases of the platform that runs on this data folder; None where none does."""
    try:
        held = json.loads((layout.root / "status.json").read_text()).get("databases")
    except (OSError, ValueError):
        return None
    return Urls(**held) if held else None


def described(urls: Urls | None) -> dict[str, str] | None:
    """`urls` as the status file holds them."""
    return asdict(urls) if urls else None


@contextmanager
def open_databases(settings: Settings) -> Iterator[Urls]:
    """The databases for one command: those of the running platform, else started for as long as the command lasts."""
    layout = settings.layout
    if settings.database_url:
        yield prepare(settings, None)
        return
    if not layout.lock.exists():
        layout.create()
    lock = take_lock(layout)
    if lock is None:
        yield _wait_for_running(layout)
        return
    with lock:
        server = EmbeddedPostgres(layout.postgres, layout.sockets)
        server.prepare()
        supervisor = Supervisor(layout.processes, layout.logs)
        deadline = time.monotonic() + _START_SECONDS
        while supervisor.ensure(server.program()) is not State.READY:
            if time.monotonic() > deadline:
                raise CanariError(f"PostgreSQL did not start; its log: {layout.logs / 'postgres.log'}")
            time.sleep(0.05)
        try:
            yield prepare(settings, server)
        finally:
            supervisor.stop(["postgres"])


def _wait_for_running(layout: Layout) -> Urls:
    deadline = time.monotonic() + _START_SECONDS
    while (urls := running_urls(layout)) is None:
        if time.monotonic() > deadline:
            raise CanariError(f"the platform on {layout.root} is not ready: see `canari status`")
        time.sleep(0.2)
    return urls
