from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from canari.spec_file import load_spec
from canari.store import decisions, rollouts, versions
from canari.store.rehearsal import rehearsal
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


def test_a_models_newest_decision_is_its_verdict(decided: Database) -> None:
    assert decisions.newest(decided.engine) == {"drift": "start", "other": "promoted"}
    rollouts.roll_back(decided.engine, "drift", reason="worse", actor="ana")
    assert decisions.newest(decided.engine)["drift"] == "rolled_back"
    versions.put_spec(decided.engine, SPEC.model_copy(update={"name": "new"}))
    assert "new" not in decisions.newest(decided.engine)


def test_a_rehearsal_sees_what_it_wrote_and_leaves_nothing(decided: Database) -> None:
    with rehearsal(decided.app_url) as engine:
        rollouts.roll_back(engine, "drift", reason="worse", actor="a rehearsal")
        assert decisions.newest(engine)["drift"] == "rolled_back"
        rollouts.deploy(engine, "drift", 2, weight=100, actor="a rehearsal")
        assert rollouts.desired(engine)["drift"] == (2, None)
    stable, rollout = rollouts.desired(decided.engine)["drift"]
    assert stable == 1
    assert rollout is not None
    assert rollout.weight == 20
