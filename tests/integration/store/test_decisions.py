from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from canari.spec_file import load_spec
from canari.store import decisions, rollouts, versions
from canari.store.rehearsal import rehearsal
from canari.types import Desired
from tests.conftest import ROOT, Database

SPEC = load_spec(ROOT / "bentos" / "drift")
OTHER = SPEC.model_copy(update={"name": "other"})
YESTERDAY = datetime.now(UTC) - timedelta(days=1)


@pytest.fixture
def decided(swept_database: Database) -> Database:
    engine = swept_database.engine
    for spec in (SPEC, OTHER):
        for _ in range(2):
            number = versions.allot(engine, spec, manifest_digest=None, synthetic=True)
            versions.mark_ready(engine, spec.name, number, archive=f"{number:064d}", metrics={})
        rollouts.deploy(engine, spec.name, 1, weight=100, actor="a test")
    rollouts.deploy(engine, "drift", 2, weight=20, actor="ana")
    return swept_database


def test_decisions_are_told_in_order_of_the_models_that_are_asked_for(decided: Database) -> None:
    told = decisions.recent(decided.engine, ["drift"], since=YESTERDAY)
    assert [(d.action, d.canary, d.weight, d.actor) for d in told] == [
        ("bootstrap", 1, 100, "a test"),
        ("promoted", 1, 100, "a test"),
        ("start", 2, 20, "ana"),
    ]
    assert [d.action for d in decisions.recent(decided.engine, ["drift"], since=YESTERDAY, after=told[1].id)] == [
        "start"
    ]
    assert decisions.recent(decided.engine, ["drift"], since=datetime.now(UTC) + timedelta(hours=1)) == []
    assert decisions.recent(decided.engine, [], since=YESTERDAY) == []


def test_a_models_newest_decision_is_of_what_is_open_else_of_what_ended_last(decided: Database) -> None:
    engine = decided.engine

    def newest() -> dict[str, tuple[str, int]]:
        return {model: (decision.action, decision.canary) for model, decision in decisions.newest(engine).items()}

    number = versions.allot(engine, SPEC, manifest_digest=None, synthetic=True)
    versions.mark_ready(engine, "drift", number, archive=f"{number:064d}", metrics={})
    assert newest() == {"drift": ("start", 2), "other": ("promoted", 1)}
    rollouts.propose(engine, "drift", number, actor="ana", reason="newer")
    assert newest()["drift"] == ("start", 2)
    # By hand all goes back to stable: what waits is superseded, and what was open is rolled back.
    rollouts.deploy(engine, "drift", 1, weight=100, actor="ana")
    assert newest()["drift"] == ("rolled_back", 2)
    versions.put_spec(engine, SPEC.model_copy(update={"name": "new"}))
    assert "new" not in newest()


def test_a_rehearsal_sees_what_it_wrote_and_leaves_nothing(decided: Database) -> None:
    with rehearsal(decided.app_url) as engine:
        rollouts.roll_back(engine, "drift", reason="worse", actor="a rehearsal")
        assert decisions.newest(engine)["drift"].action == "rolled_back"
        rollouts.deploy(engine, "drift", 2, weight=100, actor="a rehearsal")
        assert rollouts.desired(engine)["drift"] == Desired(2)
    wanted = rollouts.desired(decided.engine)["drift"]
    assert (wanted.stable, wanted.weight(1), wanted.weight(2)) == (1, 80, 20)
