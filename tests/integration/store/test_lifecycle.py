from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from canari.errors import CanariError
from canari.spec import ModelSpec
from canari.spec_file import load_spec
from canari.store import rollouts, samples, versions
from canari.store.engine import connect
from canari.store.migrate import ensure_partitions, migrate
from canari.store.tables import metadata
from canari.types import Desired, Rollout, RolloutState, Sample, VersionState
from tests.conftest import ROOT, Database


@pytest.fixture
def spec() -> ModelSpec:
    return load_spec(ROOT / "bentos" / "drift")


def ready(database: Database, spec: ModelSpec) -> int:
    number = versions.allot(database.engine, spec, manifest_digest="m", synthetic=True)
    versions.mark_ready(database.engine, spec.name, number, archive="a" * 64, metrics={"accuracy": 0.9})
    return number


def deploy(database: Database, number: int, weight: int) -> Rollout | None:
    return rollouts.deploy(database.engine, "drift", number, weight=weight, actor="a test")


def test_the_migrations_make_exactly_the_tables_the_code_knows(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_name": lambda name, kind, _: (
                    kind != "table" or (name != "canari_schema" and not name.startswith("predictions_"))
                )
            },
        )
        assert compare_metadata(context, metadata) == []


def test_migrating_twice_changes_nothing(database: Database) -> None:
    migrate(database.owner_url)


def test_the_application_role_cannot_change_the_schema_and_the_reader_can_only_read(database: Database) -> None:
    with database.engine.connect() as connection, pytest.raises(ProgrammingError, match="permission denied"):
        connection.execute(text("CREATE TABLE public.mine (id int)"))
    with database.engine.connect() as connection, pytest.raises(ProgrammingError, match="must be owner"):
        connection.execute(text("DROP TABLE predictions"))
    reader = connect(database.read_url, pool=1)
    with reader.connect() as connection, pytest.raises(ProgrammingError, match="permission denied"):
        connection.execute(text("DELETE FROM predictions"))
    with reader.connect() as connection, pytest.raises(ProgrammingError, match="permission denied"):
        connection.execute(text("SELECT * FROM accounts"))
    with reader.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM predictions")).scalar_one() == 0
    reader.dispose()


def test_the_partitions_of_this_month_and_the_next_two_are_always_there(database: Database) -> None:
    later = datetime.now(UTC) + timedelta(days=400)
    assert ensure_partitions(database.engine, datetime.now(UTC)) == 0
    assert ensure_partitions(database.engine, later) == 3
    assert ensure_partitions(database.engine, later) == 0


def test_numbers_are_allotted_in_order_before_training(database: Database, spec: ModelSpec) -> None:
    first = versions.allot(database.engine, spec, manifest_digest="one", synthetic=False)
    second = versions.allot(database.engine, spec, manifest_digest="two", synthetic=False)
    assert (first, second) == (1, 2)
    assert versions.resume(database.engine, "drift", "one") == 1
    versions.mark_failed(database.engine, "drift", 1, "accuracy 0.4 is under 0.7")
    assert versions.resume(database.engine, "drift", "one") is None
    assert [(v.number, v.state) for v in versions.versions(database.engine, "drift")] == [
        (2, VersionState.BUILDING),
        (1, VersionState.FAILED),
    ]


def test_the_live_specification_is_the_last_one_put(database: Database, spec: ModelSpec) -> None:
    versions.put_spec(database.engine, spec)
    changed = spec.model_copy(update={"labels": ("under", "over"), "label_titles": {}})
    versions.put_spec(database.engine, changed)
    assert versions.live_specs(database.engine) == {"drift": changed}


def test_the_first_version_takes_all_whatever_weight_was_asked(database: Database, spec: ModelSpec) -> None:
    rollout = deploy(database, ready(database, spec), 20)
    assert rollout is not None
    assert (rollout.state, rollout.weight) == (RolloutState.PROMOTED, 100)
    assert rollouts.desired(database.engine) == {"drift": Desired(1)}
    assert rollouts.history(database.engine, "drift")[-1]["action"] == "bootstrap"


def test_a_second_version_opens_a_rollout_moves_and_is_promoted(database: Database, spec: ModelSpec) -> None:
    deploy(database, ready(database, spec), 100)
    second = ready(database, spec)
    opened = deploy(database, second, 20)
    assert opened is not None
    assert (opened.stable, opened.canary, opened.step, opened.weight) == (1, 2, 0, 20)
    moved = deploy(database, second, 50)
    assert moved is not None
    assert (moved.id, moved.step, moved.weight) == (opened.id, 1, 50)
    assert deploy(database, second, 50) == moved
    settled = deploy(database, second, 100)
    assert settled is not None
    assert settled.state is RolloutState.PROMOTED
    assert rollouts.desired(database.engine) == {"drift": Desired(2)}


def test_naming_stable_at_100_rolls_back(database: Database, spec: ModelSpec) -> None:
    deploy(database, ready(database, spec), 100)
    deploy(database, ready(database, spec), 20)
    settled = deploy(database, 1, 100)
    assert settled is not None
    assert settled.state is RolloutState.ROLLED_BACK
    assert rollouts.desired(database.engine) == {"drift": Desired(1)}
    with pytest.raises(CanariError, match="nothing to roll back"):
        rollouts.roll_back(database.engine, "drift", reason="none", actor="a test")


def test_a_third_version_supersedes_the_open_rollout(database: Database, spec: ModelSpec) -> None:
    deploy(database, ready(database, spec), 100)
    deploy(database, ready(database, spec), 20)
    deploy(database, ready(database, spec), 10)
    wanted = rollouts.desired(database.engine)["drift"]
    assert wanted.rollout is not None
    assert (wanted.stable, wanted.rollout.canary, wanted.rollout.weight) == (1, 3, 10)


def test_what_cannot_be_deployed_is_refused_with_what_can(database: Database, spec: ModelSpec) -> None:
    deploy(database, ready(database, spec), 100)
    versions.allot(database.engine, spec, manifest_digest="x", synthetic=False)
    with pytest.raises(CanariError, match="no version 7; versions that may serve: 1"):
        deploy(database, 7, 100)
    with pytest.raises(CanariError, match="version 2 of drift is building"):
        deploy(database, 2, 100)
    with pytest.raises(CanariError, match="from 1 to 100"):
        deploy(database, 1, 0)
    with pytest.raises(CanariError, match="is its stable version"):
        deploy(database, 1, 30)
    with pytest.raises(CanariError, match="no model 'other'"):
        rollouts.deploy(database.engine, "other", 1, weight=100, actor="a test")


def test_samples_are_kept_once(database: Database, spec: ModelSpec) -> None:
    versions.put_spec(database.engine, spec)
    sample = Sample("d" * 64, "above", "g", Path("x"), evaluation=True, source="a test")
    assert samples.add(database.engine, "drift", [sample]) == 1
    assert samples.add(database.engine, "drift", [sample]) == 0
    (kept,) = samples.all(database.engine, "drift")
    assert (kept.label, kept.group, kept.evaluation, kept.source) == ("above", "g", True, "a test")
    assert samples.all(database.engine, "drift", synthetic=True) == []
