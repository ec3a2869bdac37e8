"""What the tests share: real sample data where it is to be had, and a real PostgreSQL."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text

from canari.launch.postgres import OWNER, EmbeddedPostgres
from canari.launch.processes import State, Supervisor
from canari.store.engine import connect
from canari.store.migrate import APP_ROLE, READ_ROLE, ensure_database, migrate

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Database:
    """A fresh, migrated database and the URLs of its three roles."""

    owner_url: str
    app_url: str
    read_url: str
    engine: Engine


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL server for the whole session."""
    with tempfile.TemporaryDirectory(prefix="canari-pg-") as folder:
        root = Path(folder)
        root.chmod(0o711)
        (root / "pids").mkdir()
        server = EmbeddedPostgres(root / "data", root)
        server.prepare()
        supervisor = Supervisor(root / "pids", root)
        deadline = time.monotonic() + 60
        while supervisor.ensure(server.program()) is not State.READY:
            assert time.monotonic() < deadline, (root / "postgres.log").read_text()
            time.sleep(0.05)
        yield server
        supervisor.stop(["postgres"])


@pytest.fixture
def database(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """A database of the test's own, migrated to the newest schema."""
    name = f"test_{uuid4().hex[:12]}"
    owner_url = ensure_database(postgres.url(OWNER), name)
    migrate(owner_url)
    engine = connect(postgres.url(APP_ROLE, name))
    yield Database(owner_url, postgres.url(APP_ROLE, name), postgres.url(READ_ROLE, name), engine)
    engine.dispose()
    admin = connect(postgres.url(OWNER), pool=1)
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    admin.dispose()


@pytest.fixture(scope="session")
def real_data() -> Path | None:
    """The folder of real photos and weights, where there is one."""
    folder = Path(os.environ.get("CANARI_TEST_DATA", ROOT.parent / "shared" / "data"))
    return folder if folder.is_dir() else None
