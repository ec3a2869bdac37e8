"""Schemas that are not there yet, newer ones, and servers that lack what this release needs."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ProgrammingError

from canari.errors import CanariError
from canari.launch.postgres import OWNER, EmbeddedPostgres
from canari.store.engine import connect
from canari.store.migrate import (
    LINEAGE_DATABASE,
    LINEAGE_ROLE,
    ensure_lineage,
    ensure_own_database,
    migrate,
    wait_for_schema,
    wait_for_server,
)
from tests.conftest import Database, GivenPostgres

Server = EmbeddedPostgres | GivenPostgres


@pytest.fixture
def absent(postgres: Server) -> Iterator[str]:
    """The owner's URL of a database that is not there."""
    name = f"test_{uuid4().hex[:12]}"
    yield postgres.url(OWNER, name)
    drop(postgres, name)


def drop(postgres: Server, name: str) -> None:
    run(postgres.url(OWNER), f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def run(url: str, *statements: str) -> None:
    engine = connect(url, pool=1)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def test_a_schema_of_this_release_is_not_waited_for(database: Database) -> None:
    told: list[str] = []
    wait_for_schema(database.engine, seconds=0, tell=told.append)
    assert told == []


def test_a_schema_that_is_behind_or_missing_is_waited_for_and_told(database: Database, absent: str) -> None:
    run(database.owner_url, "UPDATE canari_schema SET version_num = '0001'")
    with pytest.raises(CanariError, match=r"still waiting for the schema to be migrated to \d+ \(it is at 0001\)"):
        wait_for_schema(database.engine, seconds=0)
    ensure_own_database(absent)
    engine = connect(absent, pool=1)
    with pytest.raises(CanariError, match="still waiting for the schema to be made"):
        wait_for_schema(engine, seconds=0)
    engine.dispose()


def test_a_newer_releases_schema_is_good_enough_and_migrating_leaves_it_alone(database: Database) -> None:
    run(
        database.owner_url,
        "UPDATE canari_schema SET version_num = '9999'",
        "CREATE TABLE newer_secrets (id int)",
    )
    wait_for_schema(database.engine, seconds=0)
    migrate(database.owner_url)
    with database.engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM canari_schema")).scalar_one() == "9999"
    reader = connect(database.read_url, pool=1)
    with reader.connect() as connection, pytest.raises(ProgrammingError, match="permission denied"):
        connection.execute(text("SELECT * FROM newer_secrets"))
    reader.dispose()


def test_a_server_that_does_not_answer_is_told_with_its_words() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told: list[str] = []
    with pytest.raises(CanariError, match="still waiting for the database to answer"):
        wait_for_server(f"postgresql://nobody@127.0.0.1:{port}/none", seconds=0, tell=told.append)
    assert "refused" in told[0]


def test_a_database_that_the_server_lacks_is_made_once(absent: str) -> None:
    wait_for_server(absent, seconds=0)
    for _ in range(2):
        ensure_own_database(absent)
    migrate(absent)


@pytest.fixture
def plain_owner(postgres: Server) -> Iterator[str]:
    """An owner's URL as a managed server gives it out: no superuser, but it may create databases and roles."""
    name, database = f"owner_{uuid4().hex[:8]}", f"test_{uuid4().hex[:12]}"
    server = postgres.url(OWNER)
    drop(postgres, LINEAGE_DATABASE)
    run(server, f"DROP ROLE IF EXISTS {LINEAGE_ROLE}")
    run(
        server,
        f"CREATE ROLE {name} LOGIN CREATEDB CREATEROLE PASSWORD 'plain'",
        f"CREATE DATABASE {database} OWNER {name}",
    )
    url = make_url(postgres.url(OWNER, database)).set(username=name, password="plain")
    yield url.render_as_string(hide_password=False)
    for made in (LINEAGE_DATABASE, database):
        drop(postgres, made)
    run(server, f"DROP ROLE IF EXISTS {LINEAGE_ROLE}", f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def test_the_lineage_has_a_database_and_a_role_that_owns_nothing_else(plain_owner: str) -> None:
    for password in ("first", "renewed"):
        ensure_lineage(plain_owner, password)
    lineage = make_url(plain_owner).set(username=LINEAGE_ROLE, password="renewed")
    own = connect(lineage.set(database=LINEAGE_DATABASE).render_as_string(hide_password=False), pool=1)
    with own.begin() as connection:
        connection.execute(text("CREATE TABLE runs (id int)"))
    own.dispose()
    ours = connect(lineage.render_as_string(hide_password=False), pool=1)
    with ours.connect() as connection, pytest.raises(ProgrammingError, match="permission denied"):
        connection.execute(text("CREATE TABLE public.mine (id int)"))
    ours.dispose()


def test_a_lineage_database_that_is_there_already_changes_hands(plain_owner: str) -> None:
    run(plain_owner, f"CREATE DATABASE {LINEAGE_DATABASE}")
    ensure_lineage(plain_owner, "secret")
    url = make_url(plain_owner).set(username=LINEAGE_ROLE, password="secret", database=LINEAGE_DATABASE)
    run(url.render_as_string(hide_password=False), "CREATE TABLE runs (id int)")
