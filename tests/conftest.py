"""What the tests share: real sample data where it is to be had, and a real PostgreSQL."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine, make_url, text

from canari.launch.launcher import State
from canari.launch.postgres import OWNER, EmbeddedPostgres
from canari.launch.processes import Supervisor
from canari.store.engine import connect
from canari.store.migrate import APP_ROLE, READ_ROLE, ensure_database, migrate
from canari.store.tables import hour_marks, metadata
from tests.platform import Platform

ROOT = Path(__file__).resolve().parent.parent
_PASSWORD = "of-the-tests-roles"


@dataclass(frozen=True)
class Database:
    """A fresh, migrated database and the URLs of its three roles."""

    owner_url: str
    app_url: str
    read_url: str
    engine: Engine


class GivenPostgres:
    """The server that CANARI_TEST_DATABASE_URL names, as an account that may make databases and roles."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)

    def url(self, role: str, database: str = "postgres") -> str:
        """The URL of `database` for `role`."""
        url = self._url if role == OWNER else self._url.set(username=role, password=_PASSWORD)
        return url.set(database=database).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres | GivenPostgres]:
    """A PostgreSQL server for the whole session: the one CANARI_TEST_DATABASE_URL names, else Canari's own."""
    if given := os.environ.get("CANARI_TEST_DATABASE_URL"):
        yield GivenPostgres(given)
        return
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


@contextmanager
def fresh_database(postgres: EmbeddedPostgres | GivenPostgres) -> Iterator[Database]:
    """A database for a while, migrated to the newest schema."""
    name = f"test_{uuid4().hex[:12]}"
    owner_url = ensure_database(postgres.url(OWNER), name)
    migrate(owner_url, app_password=_PASSWORD, read_password=_PASSWORD)
    engine = connect(postgres.url(APP_ROLE, name))
    yield Database(owner_url, postgres.url(APP_ROLE, name), postgres.url(READ_ROLE, name), engine)
    engine.dispose()
    admin = connect(postgres.url(OWNER), pool=1)
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    admin.dispose()


@pytest.fixture
def database(postgres: EmbeddedPostgres | GivenPostgres) -> Iterator[Database]:
    """A database of the test's own, migrated to the newest schema."""
    with fresh_database(postgres) as database:
        yield database


@pytest.fixture(scope="session")
def _swept(postgres: EmbeddedPostgres | GivenPostgres) -> Iterator[Database]:
    with fresh_database(postgres) as database:
        yield database


@pytest.fixture
def swept_database(_swept: Database) -> Database:
    """An empty database that was others' before: much quicker than one of the test's own."""
    with _swept.engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
        # What went left its marks.
        connection.execute(hour_marks.delete())
    return _swept


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform that runs for the whole session; at its end nothing of it is left."""
    folder = tmp_path_factory.mktemp("platform")
    for parent in (folder, folder.parent):
        parent.chmod(0o711)
    made = Platform(folder)
    made.start()
    yield made
    made.stop()
    assert made.left() == []


@pytest.fixture(scope="session")
def real_data() -> Path | None:
    """The folder of real photos and weights, where there is one."""
    folder = Path(os.environ.get("CANARI_TEST_DATA", ROOT.parent / "shared" / "data"))
    return folder if folder.is_dir() else None
