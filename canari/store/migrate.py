"""Bringing a database to the newest schema, and giving each role just what it needs.

Three roles: the owner migrates, `canari_app` reads and writes rows and cannot change the schema, `canari_read` reads
what dashboards may show. Migrating twice at once is safe: the second waits for the first. Migrations only add, so that
an older release works on a newer schema: there it migrates and grants nothing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from canari.errors import CanariError
from canari.store.engine import connect

APP_ROLE = "canari_app"
READ_ROLE = "canari_read"
LINEAGE_ROLE = "canari_lineage"
LINEAGE_DATABASE = "mlflow"
_VERSION_TABLE = "canari_schema"
_LOCK = 0x0CA7A121
_POLL_SECONDS = 0.5
_IS_SUPERUSER = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
_KNOWS_MAINTAIN = "SELECT current_setting('server_version_num')::integer >= 170000"
_DATABASE_OWNER = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = :name"


def migrate(owner_url: str, *, app_password: str | None = None, read_password: str | None = None) -> None:
    """Create the roles where they are missing, run every migration that has not run, and renew the grants.

    `owner_url` must be allowed to create in the database's public schema, and to create roles unless they exist.
    """
    engine = connect(owner_url, pool=1)
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            _ensure_role(connection, APP_ROLE, app_password)
            _ensure_role(connection, READ_ROLE, read_password)
            if _known(_revision(connection)):
                config = _config()
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
                _grant(connection)
            ensure_partitions_on(connection, datetime.now(UTC))
    finally:
        engine.dispose()


def wait_for_schema(engine: Engine, *, seconds: float, tell: Callable[[str], object] = lambda _: None) -> None:
    """Return once the database answers and its schema is the one this code needs, or a newer one.

    `tell` is called with what is being waited for, whenever that changes. Raises CanariError with it after `seconds`.
    """
    head = ScriptDirectory.from_config(_config()).get_current_head()

    def missing() -> str | None:
        with engine.connect() as connection:
            found = _revision(connection)
        if found == head or not _known(found):
            return None
        return f"the schema to be migrated to {head} (it is at {found})" if found else "the schema to be made"

    _wait(missing, seconds, tell)


def wait_for_server(url: str, *, seconds: float, tell: Callable[[str], object] = lambda _: None) -> None:
    """Return once the server of `url` answers; its database may be missing. Otherwise as `wait_for_schema`."""
    engine = connect(url, pool=1)

    def missing() -> str | None:
        try:
            engine.connect().close()
        except OperationalError as error:
            if not _lacks_database(error):
                raise
        return None

    try:
        _wait(missing, seconds, tell)
    finally:
        engine.dispose()


def ensure_own_database(owner_url: str) -> None:
    """Create the database that `owner_url` names where the server lacks it."""
    engine = connect(owner_url, pool=1)
    try:
        engine.connect().close()
    except OperationalError as error:
        name = make_url(owner_url).database
        if name is None or not _lacks_database(error):
            raise
        server = make_url(owner_url).set(database="postgres").render_as_string(hide_password=False)
        ensure_database(server, name)
    finally:
        engine.dispose()


def ensure_lineage(owner_url: str, password: str) -> None:
    """Have MLflow's database, and the role `canari_lineage` that owns it and reaches nothing of ours."""
    ensure_database(owner_url, LINEAGE_DATABASE)
    engine = connect(owner_url, pool=1)
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            _ensure_role(connection, LINEAGE_ROLE, password)
            if not connection.execute(text(_IS_SUPERUSER)).scalar_one():
                # Only a member of a role may give it what it owns itself.
                connection.execute(text(f"GRANT {LINEAGE_ROLE} TO CURRENT_USER"))
            owner = connection.execute(text(_DATABASE_OWNER), {"name": LINEAGE_DATABASE}).scalar_one()
            if owner != LINEAGE_ROLE:
                connection.execute(text(f"ALTER DATABASE {LINEAGE_DATABASE} OWNER TO {LINEAGE_ROLE}"))
    finally:
        engine.dispose()


def ensure_database(owner_url: str, name: str) -> str:
    """Create the database `name` on `owner_url`'s server where it is missing; returns its URL."""
    url = make_url(owner_url)
    engine = connect(owner_url, pool=1)
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            found = connection.execute(text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": name}).first()
            if found is None:
                quoted = connection.dialect.identifier_preparer.quote_identifier(name)
                connection.execute(text(f"CREATE DATABASE {quoted}"))
    finally:
        engine.dispose()
    return url.set(database=name).render_as_string(hide_password=False)


def ensure_partitions(engine: Engine, moment: datetime, *, ahead: int = 2) -> int:
    """Make the partition of `moment`'s month and of the `ahead` months after it; returns how many were missing."""
    with engine.begin() as connection:
        return ensure_partitions_on(connection, moment, ahead=ahead)


def ensure_partitions_on(connection: Connection, moment: datetime, *, ahead: int = 2) -> int:
    """`ensure_partitions` inside a caller's transaction."""
    made = connection.execute(
        text("SELECT ensure_partitions(:moment, :ahead)"), {"moment": moment, "ahead": ahead}
    ).scalar_one()
    return int(made)


def _wait(missing: Callable[[], str | None], seconds: float, tell: Callable[[str], object]) -> None:
    deadline, told = time.monotonic() + seconds, None
    while True:
        try:
            what = missing()
        except OperationalError as error:
            what = f"the database to answer ({str(error.orig).strip().partition(chr(10))[0]})"
        if what is None:
            return
        if what != told:
            tell(what)
            told = what
        if time.monotonic() > deadline:
            raise CanariError(f"after {seconds:.0f} s still waiting for {what}")
        time.sleep(_POLL_SECONDS)


def _lacks_database(error: OperationalError) -> bool:
    # libpq keeps a failed connection's SQLSTATE (3D000) to itself, so the server's words have to do.
    return re.search(r'FATAL: .*database ".*" does not exist', str(error.orig)) is not None


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table": _VERSION_TABLE}).get_current_revision()


def _known(revision: str | None) -> bool:
    """Whether this code has the migration; one it does not know was made by a newer release."""
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    return revision is None or revision in known


def _ensure_role(connection: Connection, role: str, password: str | None) -> None:
    exists = connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}).first()
    if exists is None:
        connection.execute(text(f"CREATE ROLE {role} LOGIN"))
    if password is not None:
        literal = connection.execute(text("SELECT quote_literal(:password)"), {"password": password}).scalar_one()
        connection.execute(text(f"ALTER ROLE {role} PASSWORD {literal}"))


def _grant(connection: Connection) -> None:
    statements = [
        f"GRANT USAGE ON SCHEMA public TO {APP_ROLE}, {READ_ROLE}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {APP_ROLE}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {APP_ROLE}",
        f"REVOKE INSERT, UPDATE, DELETE ON canari_schema FROM {APP_ROLE}",
        f"GRANT EXECUTE ON FUNCTION ensure_partitions(timestamptz, integer) TO {APP_ROLE}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {READ_ROLE}",
        f"REVOKE SELECT ON tokens, accounts, inputs, erasures, erased_samples FROM {READ_ROLE}",  # noqa: S608 - our own constants
    ]
    if connection.execute(text(_KNOWS_MAINTAIN)).scalar_one():
        # Erasing ends with a vacuum. Partitions to come are covered by what the owner gives from the start.
        statements += [
            f"GRANT MAINTAIN ON ALL TABLES IN SCHEMA public TO {APP_ROLE}",
            f"REVOKE MAINTAIN ON canari_schema FROM {APP_ROLE}",
            f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT MAINTAIN ON TABLES TO {APP_ROLE}",
        ]
    for statement in statements:
        connection.execute(text(statement))
