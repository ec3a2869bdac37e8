"""The jobs of a cluster, each in a process of its own, on a real server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url

from canari.launch.postgres import OWNER, EmbeddedPostgres
from canari.spec_file import load_spec
from canari.store import access, evaluations, feedback, predictions, rollouts, versions
from canari.store.engine import connect
from canari.tokens import Scope
from canari.types import Feedback
from tests.conftest import ROOT, Database, GivenPostgres
from tests.integration.store.samples_of import id_at, prediction

Server = EmbeddedPostgres | GivenPostgres


def job(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("CANARI_")}
    command = [sys.executable, "-m", "services.jobs", *arguments]
    return subprocess.run(command, cwd=ROOT, env=clean | environment, capture_output=True, text=True, check=False)


@dataclass
class Fresh:
    """A server that holds nothing of ours yet."""

    owner_url: str

    def migrate(self, **passwords: str) -> str:
        done = job("migrate", "--timeout", "20", CANARI_DATABASE_OWNER_URL=self.owner_url, **passwords)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def engine(self) -> Engine:
        return connect(self.owner_url, pool=1)


@pytest.fixture
def fresh(postgres: Server) -> Iterator[Fresh]:
    name = f"test_{uuid4().hex[:12]}"
    admin = connect(postgres.url(OWNER), pool=1)
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("DROP DATABASE IF EXISTS mlflow WITH (FORCE)"))
        yield Fresh(postgres.url(OWNER, name))
        connection.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
        connection.execute(text("DROP DATABASE IF EXISTS mlflow WITH (FORCE)"))
    admin.dispose()


def test_migrating_makes_databases_roles_schema_and_the_admins_account_as_often_as_one_likes(fresh: Fresh) -> None:
    # The roles are the whole server's: the other tests know them by this password.
    passwords = {f"CANARI_{role}_PASSWORD": "of-the-tests-roles" for role in ("APP", "READ")}
    passwords |= {f"CANARI_{role}_PASSWORD": f"of-{role.lower()}" for role in ("LINEAGE", "ADMIN")}
    first, second = (fresh.migrate(**passwords) for _ in range(2))
    assert "the account admin has the password that was given" in first
    assert "the account admin" not in second
    engine = fresh.engine()
    account = access.authenticate(engine, "admin", "of-admin")
    assert account is not None
    assert account.scopes == {Scope.ADMIN}
    lineage = make_url(fresh.owner_url).set(username="canari_lineage", password="of-lineage", database="mlflow")
    own = connect(lineage.render_as_string(hide_password=False), pool=1)
    with own.begin() as connection:
        connection.execute(text("CREATE TABLE runs (id int)"))
    own.dispose()
    engine.dispose()


def test_a_renewed_admin_password_takes_the_old_ones_place_and_a_disabled_account_stays_shut(fresh: Fresh) -> None:
    fresh.migrate(CANARI_ADMIN_PASSWORD="the first one")
    fresh.migrate(CANARI_ADMIN_PASSWORD="the second one")
    engine = fresh.engine()
    assert access.authenticate(engine, "admin", "the first one") is None
    assert access.authenticate(engine, "admin", "the second one") is not None
    access.disable_account(engine, "admin")
    fresh.migrate(CANARI_ADMIN_PASSWORD="the third one")
    assert access.authenticate(engine, "admin", "the third one") is None
    engine.dispose()


def test_without_passwords_there_is_neither_an_admin_nor_a_lineage(fresh: Fresh) -> None:
    fresh.migrate()
    engine = fresh.engine()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM accounts")).scalar_one() == 0
        found = connection.execute(text("SELECT count(*) FROM pg_database WHERE datname = 'mlflow'")).scalar_one()
    assert found == 0
    engine.dispose()


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, "CANARI_DATABASE_OWNER_URL is not set"),
        ({"CANARI_DATABASE_OWNER_URL": "postgresql://nobody@127.0.0.1:1/none"}, "still waiting for the database"),
        ({"CANARI_DATABASE_OWNER_URL": "mysql"}, "no address of a PostgreSQL database"),
    ],
)
def test_what_a_person_can_mend_is_said_in_one_line(environment: dict[str, str], told: str) -> None:
    done = job("migrate", "--timeout", "1", **environment)
    assert done.returncode == 1
    assert told in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.fixture
def two_arms(swept_database: Database) -> Database:
    """cats_dogs with a stable version 1 and a canary 2; a prediction of each, and a vote."""
    engine, spec = swept_database.engine, load_spec(ROOT / "bentos" / "cats_dogs")
    moment = datetime.now(UTC) - timedelta(minutes=5)
    for weight in (100, 20):
        number = versions.allot(engine, spec, manifest_digest="m", synthetic=True)
        versions.mark_ready(engine, "cats_dogs", number, archive="a" * 64, metrics={})
        rollouts.deploy(engine, "cats_dogs", number, weight=weight, actor="a test")
        row = prediction(1, recorder=uuid4(), id=id_at(moment))
        predictions.append(engine, "cats_dogs", number, [row])
        feedback.put(engine, Feedback(row.id, "cats_dogs", "ada", right=True, label="cat", comment=None))
    return swept_database


def test_every_live_version_is_evaluated_and_kept_and_printed(two_arms: Database) -> None:
    environment = {"CANARI_DATABASE_URL": two_arms.app_url}
    done = job("evaluate", "--since", "1h", "--json", **environment)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert [(row["version"], row["predictions"], row["satisfaction"], row["accuracy"]) for row in printed] == [
        (1, 1, 1.0, 1.0),
        (2, 1, 1.0, 1.0),
    ]
    kept = evaluations.latest(two_arms.engine)
    assert [kept["cats_dogs", row["version"]].document().items() <= row.items() for row in printed] == [True, True]
    assert "its archive aaaaaaaaaaaa is gone" in printed[0]["notes"][1] or "no evaluation set" in printed[0]["notes"][1]
    table = job("evaluate", "--since", "1h", "--model", "cats_dogs", **environment).stdout
    assert "cat 100%" in table


def test_a_dry_run_keeps_nothing_and_an_unknown_model_is_told(two_arms: Database) -> None:
    environment = {"CANARI_DATABASE_URL": two_arms.app_url}
    assert job("evaluate", "--dry-run", **environment).returncode == 0
    assert evaluations.latest(two_arms.engine) == {}
    unknown = job("evaluate", "--model", "birds", **environment)
    assert unknown.returncode == 1
    assert "the models are: cats_dogs" in unknown.stderr


def test_welcoming_needs_a_whole_package(tmp_path: Path) -> None:
    (tmp_path / "drift").mkdir()
    (tmp_path / "drift" / "package.json").write_text("{}")
    urls = ("--feedback-url", "http://127.0.0.1:1", "--gateway-url", "http://127.0.0.1:1")
    done = job("welcome", *urls, "--samples", str(tmp_path), "--namespace", "none")
    assert done.returncode == 1
    assert "package.json cannot be read as a package's" in done.stderr
