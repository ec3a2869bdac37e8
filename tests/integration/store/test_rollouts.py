"""The life of rollouts that are judged, on a real database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from canari.errors import CanariError
from canari.spec import ModelSpec
from canari.spec_file import load_spec
from canari.store import decisions, feedback, hours, predictions, rollout_views, rollouts, versions
from canari.store.rollout_rows import Grounds
from canari.types import Desired, Feedback, Rollout, RolloutMode, RolloutState
from tests.conftest import ROOT, Database
from tests.integration.store.samples_of import prediction

STEPS: dict[str, Any] = {"steps": ["shadow", 5, 50], "deadline": "2d", "keep_previous": "1h", "holdback": 10}
ADA: dict[str, Any] = {"actor": "ada", "reason": "it is better"}
JUDGE: dict[str, Any] = {"actor": "controller", "reason": "no worse with 99 % confidence"}
GROUNDS = Grounds(1_700_000_000_000, {"errors": {"e": 31.5}})


def spec(**canary: Any) -> ModelSpec:
    document = load_spec(ROOT / "bentos" / "drift").document()
    return ModelSpec.model_validate({**document, "canary": {**document["canary"], **STEPS, **canary}})


@pytest.fixture
def engine(swept_database: Database) -> Engine:
    """drift with versions 1 to 4, of which 1 is stable."""
    made = swept_database.engine
    for number in range(1, 5):
        assert versions.allot(made, spec(), manifest_digest=None, synthetic=True) == number
        versions.mark_ready(made, "drift", number, archive=f"{number:064d}", metrics={})
    rollouts.deploy(made, "drift", 1, weight=100, actor="a test")
    return made


def propose(engine: Engine, number: int) -> Rollout:
    return rollouts.propose(engine, "drift", number, actor="ada", reason="it is better")


def wanted(engine: Engine) -> Desired:
    return rollouts.desired(engine)["drift"]


def course(engine: Engine) -> list[tuple[int, str, int]]:
    """Each decision since the first version's: canary, action and weight, oldest first."""
    told = rollouts.history(engine, "drift")[::-1][2:]
    return [(row["canary"], row["action"], row["weight"]) for row in told]


def later(engine: Engine, by: str) -> None:
    """Let time have gone by since every rollout's moments."""
    moments = ("settled_at", "paused_at", "step_started_at", "created_at")
    changes = ", ".join(f"{name} = {name} - interval '{by}'" for name in moments)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE rollouts SET {changes}"))


def test_a_proposal_opens_at_the_first_step_and_advances_to_its_promotion(engine: Engine) -> None:
    opened = propose(engine, 2)
    assert (opened.state, opened.mode, opened.step, opened.weight) == (RolloutState.OPEN, RolloutMode.JUDGED, 0, 0)
    assert (opened.stable, opened.proposed_by, opened.reason) == (1, "ada", "it is better")
    assert opened.spec_hash == spec().hash
    assert opened.deadline_at == opened.created_at + timedelta(days=2)
    second = rollouts.advance(engine, opened.id, 1, **JUDGE, grounds=GROUNDS)
    assert (second.step, second.weight, second.stable) == (1, 5, 1)
    assert second.step_started_at is not None
    assert opened.step_started_at is not None
    assert second.step_started_at > opened.step_started_at
    rollouts.advance(engine, opened.id, 2, **JUDGE)
    settled = rollouts.promote(engine, "drift", **JUDGE, rollout=opened.id, grounds=GROUNDS)
    assert (settled.state, settled.weight) == (RolloutState.PROMOTED, 100)
    assert wanted(engine).stable == 2
    assert course(engine) == [(2, "start", 0), (2, "advance", 5), (2, "advance", 50), (2, "promoted", 100)]
    told = rollout_views.detail(engine, "drift", opened.id).decisions
    assert [made.evidence_tick for made in told] == [None, GROUNDS.tick, None, GROUNDS.tick]
    assert told[1].verdict == GROUNDS.verdict
    assert [(made.actor, made.reason) for made in told[:2]] == [tuple(ADA.values()), tuple(JUDGE.values())]


def test_the_same_call_again_changes_nothing(engine: Engine) -> None:
    opened = propose(engine, 2)
    assert propose(engine, 2) == opened
    for again in (1, 2):
        assert rollouts.advance(engine, opened.id, 1, **JUDGE).step == 1, again
        assert rollouts.pause(engine, "drift", **ADA).paused_at is not None, again
    for again in (1, 2):
        assert rollouts.resume(engine, "drift", **ADA).paused_at is None, again
    queued = propose(engine, 3)
    assert propose(engine, 3) == queued
    for again in (1, 2):
        settled = rollouts.roll_back(engine, "drift", **JUDGE, rollout=opened.id)
        assert (settled.id, settled.state) == (opened.id, RolloutState.ROLLED_BACK), again
    for again in (1, 2):
        aborted = rollouts.abort(engine, "drift", **JUDGE, rollout=queued.id)
        assert (aborted.id, aborted.state) == (queued.id, RolloutState.ABORTED), again
    last = propose(engine, 4)
    for again in (1, 2):
        assert rollouts.promote(engine, "drift", **JUDGE, rollout=last.id).state is RolloutState.PROMOTED, again
    assert [action for _, action, _ in course(engine)] == [
        *("start", "advance", "pause", "resume", "queued", "rolled_back", "start", "aborted", "start", "promoted")
    ]


def test_a_verdict_falls_on_no_other_rollout_and_skips_no_step(engine: Engine) -> None:
    opened = propose(engine, 2)
    for step in (2, 3, -1):
        with pytest.raises(CanariError, match=rf"at step 0 of \['shadow', 5, 50\], not {step}"):
            rollouts.advance(engine, opened.id, step, **JUDGE)
    rollouts.abort(engine, "drift", **ADA)
    other = propose(engine, 3)
    for act in (rollouts.promote, rollouts.roll_back, rollouts.pause):
        with pytest.raises(CanariError, match=f"rollout {opened.id} of drift is not open: there is nothing to"):
            act(engine, "drift", **JUDGE, rollout=opened.id)
    with pytest.raises(CanariError, match="is aborted: it has no next step"):
        rollouts.advance(engine, opened.id, 1, **JUDGE)
    with pytest.raises(CanariError, match="there is no rollout 999999"):
        rollouts.promote(engine, "drift", **JUDGE, rollout=999_999)
    assert wanted(engine).rollout == other


def test_while_one_is_open_the_newest_other_proposal_waits_and_opens_next(engine: Engine) -> None:
    first = propose(engine, 2)
    propose(engine, 3)
    queued = propose(engine, 4)
    assert (queued.state, queued.weight, queued.deadline_at) == (RolloutState.QUEUED, 0, None)
    assert wanted(engine).rollout == first
    assert decisions.newest(engine)["drift"].action == "start"
    rollouts.promote(engine, "drift", **JUDGE, rollout=first.id)
    opened = wanted(engine).rollout
    assert opened is not None
    assert (opened.id, opened.stable, opened.canary, opened.step, opened.weight) == (queued.id, 2, 4, 0, 0)
    assert opened.deadline_at is not None
    assert course(engine) == [
        *((2, "start", 0), (3, "queued", 0), (3, "superseded", 0), (4, "queued", 0)),
        *((2, "promoted", 100), (4, "start", 0)),
    ]


def test_what_waited_is_judged_by_the_specification_of_the_day_it_opens(engine: Engine) -> None:
    first = propose(engine, 2)
    queued = propose(engine, 3)
    versions.put_spec(engine, spec(steps=[20, 40]))
    assert rollouts.advance(engine, first.id, 1, **JUDGE).weight == 5
    rollouts.roll_back(engine, "drift", **JUDGE)
    opened = wanted(engine).rollout
    assert opened is not None
    assert (opened.id, opened.weight, opened.spec_hash) == (queued.id, 20, spec(steps=[20, 40]).hash)


def test_by_hand_a_judged_rollout_is_superseded_with_what_waits(engine: Engine) -> None:
    propose(engine, 2)
    propose(engine, 3)
    moved = rollouts.deploy(engine, "drift", 2, weight=30, actor="ada")
    assert moved is not None
    assert (moved.mode, moved.canary, moved.weight) == (RolloutMode.MANUAL, 2, 30)
    states = {rollout.canary: rollout.state for rollout in rollout_views.listed(engine, "drift")[1:]}
    assert states == {1: RolloutState.PROMOTED, 2: RolloutState.SUPERSEDED, 3: RolloutState.SUPERSEDED}
    with pytest.raises(CanariError, match="is steered by hand"):
        rollouts.pause(engine, "drift", **ADA)
    with pytest.raises(CanariError, match="is steered by hand"):
        rollouts.advance(engine, moved.id, 1, **JUDGE)


def test_all_traffic_to_stable_by_hand_ends_what_is_judged_and_what_waits(engine: Engine) -> None:
    propose(engine, 2)
    propose(engine, 3)
    rollouts.deploy(engine, "drift", 1, weight=100, actor="ada")
    assert wanted(engine) == Desired(1)


def test_a_proposal_takes_over_what_was_steered_by_hand_and_waits_behind_another(engine: Engine) -> None:
    rollouts.deploy(engine, "drift", 2, weight=30, actor="ada")
    assert propose(engine, 3).state is RolloutState.QUEUED
    judged = propose(engine, 2)
    assert (judged.mode, judged.state, judged.weight) == (RolloutMode.JUDGED, RolloutState.OPEN, 0)
    assert [action for _, action, _ in course(engine)] == ["start", "queued", "superseded", "superseded", "start"]


def test_a_pause_does_not_count_towards_the_deadline(engine: Engine) -> None:
    opened = propose(engine, 2)
    rollouts.pause(engine, "drift", **ADA)
    later(engine, "5 hours")
    with pytest.raises(CanariError, match="is paused: resume it first"):
        rollouts.advance(engine, opened.id, 1, **JUDGE)
    with pytest.raises(CanariError, match="is paused: resume it first"):
        rollouts.promote(engine, "drift", **JUDGE, rollout=opened.id, grounds=GROUNDS)
    resumed = rollouts.resume(engine, "drift", **ADA)
    assert resumed.deadline_at is not None
    assert opened.deadline_at is not None
    assert timedelta(hours=5) <= resumed.deadline_at - opened.deadline_at < timedelta(hours=5, minutes=1)


def test_people_may_promote_what_is_paused_and_harm_rolls_it_back(engine: Engine) -> None:
    harmed = propose(engine, 2)
    rollouts.pause(engine, "drift", **ADA)
    assert rollouts.roll_back(engine, "drift", **JUDGE, rollout=harmed.id, grounds=GROUNDS).stable == 1
    propose(engine, 3)
    rollouts.pause(engine, "drift", **ADA)
    assert rollouts.promote(engine, "drift", **ADA).canary == 3


def test_after_a_promotion_the_version_of_before_is_kept_with_its_holdback_for_as_long_as_said(engine: Engine) -> None:
    opened = propose(engine, 2)
    rollouts.advance(engine, opened.id, 1, **JUDGE)
    settled = rollouts.promote(engine, "drift", **JUDGE, rollout=opened.id)
    previous = wanted(engine).previous
    assert previous is not None
    assert settled.settled_at is not None
    assert (previous.version, previous.rollout, previous.step, previous.weight) == (1, opened.id, 2, 10)
    assert previous.until == settled.settled_at + timedelta(hours=1)
    assert [wanted(engine).weight(number) for number in (1, 2, 3)] == [10, 90, 0]
    propose(engine, 3)
    assert wanted(engine).versions == [1, 2, 3]
    later(engine, "61 minutes")
    assert wanted(engine).previous is None


def test_nothing_is_kept_after_a_promotion_by_hand_alone(engine: Engine) -> None:
    rollouts.deploy(engine, "drift", 2, weight=100, actor="ada")
    assert wanted(engine) == Desired(2)
    propose(engine, 3)
    rollouts.promote(engine, "drift", **ADA)
    rollouts.deploy(engine, "drift", 4, weight=100, actor="ada")
    assert wanted(engine) == Desired(4)


def test_harm_found_while_the_version_of_before_is_kept_makes_it_stable_again(engine: Engine) -> None:
    opened = propose(engine, 2)
    rollouts.promote(engine, "drift", **JUDGE, rollout=opened.id)
    for again in (1, 2):
        reverted = rollouts.roll_back(engine, "drift", **JUDGE, rollout=opened.id, grounds=GROUNDS)
        assert (reverted.id, reverted.state, reverted.weight) == (opened.id, RolloutState.ROLLED_BACK, 0), again
    assert wanted(engine) == Desired(1)
    assert course(engine) == [(2, "start", 0), (2, "promoted", 100), (2, "rolled_back", 0)]


def test_by_hand_a_promotion_is_undone_but_a_request_sent_twice_undoes_only_one(engine: Engine) -> None:
    propose(engine, 2)
    rollouts.promote(engine, "drift", **ADA)
    propose(engine, 3)
    rollouts.roll_back(engine, "drift", **ADA)
    with pytest.raises(CanariError, match="no rollout of drift is open: there is nothing to roll back"):
        rollouts.roll_back(engine, "drift", **ADA)
    assert wanted(engine).stable == 2
    propose(engine, 4)
    rollouts.promote(engine, "drift", **ADA)
    assert rollouts.roll_back(engine, "drift", **ADA).stable == 2
    assert wanted(engine).stable == 2


def test_a_first_version_takes_all_unjudged_and_stable_is_not_judged_by_itself(engine: Engine) -> None:
    with pytest.raises(CanariError, match="version 1 of drift is its stable version"):
        propose(engine, 1)
    with pytest.raises(CanariError, match="no version 9; versions that may serve: 1, 2, 3, 4"):
        propose(engine, 9)
    other = spec().model_copy(update={"name": "other"})
    versions.allot(engine, other, manifest_digest=None, synthetic=True)
    versions.mark_ready(engine, "other", 1, archive="f" * 64, metrics={})
    first = rollouts.propose(engine, "other", 1, **ADA)
    assert (first.state, first.weight) == (RolloutState.PROMOTED, 100)
    assert rollouts.desired(engine)["other"] == Desired(1)


def test_proposals_at_once_open_one_rollout_and_leave_one_waiting(engine: Engine) -> None:
    with ThreadPoolExecutor(3) as people:
        made = list(people.map(lambda number: propose(engine, number), (2, 3, 4)))
    states = [rollout.state for rollout in rollout_views.listed(engine, "drift")]
    assert sorted(states) == ["open", "promoted", "queued", "superseded"]
    assert [rollout.state for rollout in made].count(RolloutState.OPEN) == 1


def test_what_a_release_without_judgement_left_waiting_is_proposed_anew(engine: Engine) -> None:
    propose(engine, 2)
    left = propose(engine, 3)
    with engine.begin() as connection:
        connection.execute(text("UPDATE rollouts SET state = 'rolled_back' WHERE state = 'open'"))
    opened = propose(engine, 3)
    assert opened.id > left.id
    assert wanted(engine).rollout == opened


def test_rollouts_and_decisions_are_found_by_state_and_version(engine: Engine) -> None:
    propose(engine, 2)
    rollouts.abort(engine, "drift", **ADA)
    propose(engine, 3)
    found = rollout_views.listed(engine, "drift", states=[RolloutState.OPEN, RolloutState.ABORTED])
    assert [(rollout.canary, rollout.state) for rollout in found] == [(3, "open"), (2, "aborted")]
    assert [rollout.canary for rollout in rollout_views.listed(engine, "drift", version=2)] == [2]
    assert [rollout.canary for rollout in rollout_views.listed(engine, "drift", last=1)] == [3]
    assert [row["action"] for row in rollouts.history(engine, "drift", version=2)] == ["aborted", "start"]
    assert [row["canary"] for row in rollouts.history(engine, "drift", states=[RolloutState.OPEN])] == [3]


def test_a_rollout_is_shown_with_its_evidence_summed_and_what_is_to_be_expected(engine: Engine) -> None:
    opened = propose(engine, 2)
    with engine.begin() as connection:
        for tick, metric, n, bad in ((1, "errors", 10, 1), (2, "errors", 20, 2), (2, "satisfaction", 3, 0)):
            connection.execute(
                text("INSERT INTO evidence VALUES (:rollout, :tick, 1, 2, :metric, :n, :bad)"),
                {"rollout": opened.id, "tick": tick, "metric": metric, "n": n, "bad": bad},
            )
    made = [prediction(seq) for seq in range(4)]
    predictions.append(engine, "drift", 1, made)
    feedback.put(engine, Feedback(made[0].id, "drift", "eve", True, None, None))
    hours.sweep(engine)
    found = rollout_views.detail(engine, "drift", opened.id)
    assert [(t.step, t.version, t.metric, t.n, t.bad) for t in found.evidence] == [
        (1, 2, "errors", 30, 3),
        (1, 2, "satisfaction", 3, 0),
    ]
    assert found.rules == spec().canary
    expected = rollout_views.expected(engine, found)
    assert expected is not None
    assert (expected.requests_per_day, expected.votes_per_day) == (4, 1)
    rollouts.abort(engine, "drift", **ADA)
    assert rollout_views.expected(engine, rollout_views.detail(engine, "drift", opened.id)) is None
    with pytest.raises(CanariError, match=f"cats_dogs has no rollout {opened.id}"):
        rollout_views.detail(engine, "cats_dogs", opened.id)
