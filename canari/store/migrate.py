"""Bringing a database to the newest schema, and giving each role just what it needs.

Three roles: the owner migrates, `canari_app` reads and writes rows and cannot change the schema, `canari_read` reads
what dashboards may show. Migrating twice at once is safe: the second waits for the first.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine import make_url

from canari.store.engine import connect

APP_ROLE = "canari_app"
READ_ROLE = "canari_read"
_LOCK = 0x0CA7A121


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
            config = Config()
            config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            _grant(connection)
            ensure_partitions_on(connection, datetime.now(UTC))
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
        f"REVOKE SELECT ON tokens, accounts FROM {READ_ROLE}",  # noqa: S608 - our own constants
    ]
    for statement in statements:
        connection.execute(text(statement))
