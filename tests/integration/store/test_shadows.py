"""A shadow's answers beside those of the version that users got, in a real database."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine

from canari.cohorts import SAFE_LAG
from canari.errors import CanariError
from canari.evidence import Seen
from canari.ids import moment_of
from canari.observations import Evidence, Metric
from canari.spec import ModelSpec
from canari.spec_file import load_spec
from canari.store import evidence, predictions, rollouts, shadows, versions
from canari.store.evidence import Look
from canari.store.shadows import Said
from canari.types import Prediction, RequestKind, Rollout
from tests.conftest import ROOT, Database
from tests.integration.store.samples_of import id_at, prediction

MODEL = "drift"
AGE = timedelta(seconds=10)
SECOND = timedelta(seconds=1)


@dataclass
class Shadow:
    """A rollout whose canary, version 2, gets copies of what version 1 is asked."""

    engine: Engine
    rollout: Rollout
    requests: count[int] = field(default_factory=lambda: count(1))
    ticks: count[int] = field(default_factory=lambda: count(1000))

    def ask(
        self, stable: str | None, shadow: str | None, *, after: float = 1, late: float = 0.05, **changes: Any
    ) -> tuple[Prediction, Prediction]:
        """A request, some seconds after the rollout began, and its copy: each one's answer, None where it failed."""
        request = f"request-{next(self.requests)}"
        arm = self.record(1, after, request_id=request, label=stable, status=200 if stable else 503)
        copied = {"kind": RequestKind.SHADOW, "label": shadow, "status": 200 if shadow else 503, **changes}
        return arm, self.record(2, after + late, request_id=request, **copied)

    def record(self, version: int, after: float, **changes: Any) -> Prediction:
        identity = {"id": id_at(self.rollout.created_at + after * SECOND), "recorder": uuid4()}
        made = prediction(**{**identity, "rollout": self.rollout.id, **changes})
        predictions.append(self.engine, MODEL, version, [made])
        return made

    def look(self, after: float = 300) -> list[Evidence]:
        """What a look some seconds after the rollout began finds."""
        known = evidence.known(self.engine, [self.rollout.id])[self.rollout.id]
        now = self.rollout.created_at + after * SECOND
        look = Look(known, next(self.ticks), Seen((), {}), now, {Metric.AGREEMENT: AGE})
        return list(evidence.record(self.engine, [look])[self.rollout.id].evidence)

    def agreed(self, after: float = 300) -> tuple[int, int]:
        """Of how many pairs such a look tells, and how many of these differ."""
        (row,) = self.look(after)
        assert (row.step, row.version, row.metric) == (0, 2, Metric.AGREEMENT)
        return row.n, row.bad

    def differing(self, last: int = 20) -> list[shadows.Disagreement]:
        return shadows.disagreements(self.engine, MODEL, self.rollout.id, last=last)


def spec(*steps: str | int) -> ModelSpec:
    document = load_spec(ROOT / "bentos" / MODEL).document()
    return ModelSpec.model_validate({**document, "canary": {**document["canary"], "steps": list(steps)}})


def proposed(engine: Engine, *steps: str | int) -> Shadow:
    versions.put_spec(engine, spec(*steps))
    for number in (1, 2):
        versions.allot(engine, spec(*steps), manifest_digest="m", synthetic=True)
        versions.mark_ready(engine, MODEL, number, archive="a" * 64, metrics={})
    rollouts.deploy(engine, MODEL, 1, weight=100, actor="a test")
    return Shadow(engine, rollouts.propose(engine, MODEL, 2, actor="a test", reason="a test"))


@pytest.fixture
def shadow(swept_database: Database) -> Shadow:
    return proposed(swept_database.engine, "shadow", 50)


def test_pairs_that_both_answered_are_counted_and_those_that_differ(shadow: Shadow) -> None:
    for stable, copy in [("cat", "cat"), ("cat", "dog"), ("dog", "dog"), (None, "cat"), ("cat", None), (None, None)]:
        shadow.ask(stable, copy)
    assert shadow.agreed() == (3, 1)
    assert next(evidence.looks(shadow.engine, shadow.rollout.id))[1][0].metric is Metric.AGREEMENT


def test_a_request_of_several_inputs_is_one_pair_by_the_first(shadow: Shadow) -> None:
    stable, copy = shadow.ask("cat", "cat")
    for version, first, label in [(1, stable, "cat"), (2, copy, "dog")]:
        shadow.record(version, 1.2, request_id=first.request_id, label=label, kind=first.kind)
    assert shadow.agreed() == (1, 0)


def test_what_is_no_copy_of_this_rollouts_requests_is_no_pair(shadow: Shadow) -> None:
    shadow.ask("cat", "cat")
    shadow.ask("cat", "dog", rollout=shadow.rollout.id + 1)
    shadow.ask("cat", "dog", kind=RequestKind.PIN)
    shadow.ask("cat", "dog", input_sha256="b" * 64)
    shadow.record(2, 1, kind=RequestKind.SHADOW, label="dog", request_id="nobody's")
    assert shadow.agreed() == (1, 0)


def test_an_input_that_is_not_kept_is_no_reason_to_doubt_a_pair(shadow: Shadow) -> None:
    shadow.ask("cat", "dog", input_sha256=None)
    assert shadow.agreed() == (1, 1)


def test_a_pair_is_counted_once_by_when_it_was_asked_however_it_lies_between_looks(shadow: Shadow) -> None:
    wait = (AGE + SAFE_LAG) / SECOND
    shadow.ask("cat", "dog", after=1.5, late=1)
    shadow.ask("cat", "cat", after=3.5, late=-1)
    assert shadow.look(1.4 + wait) == []
    assert shadow.agreed(2.5 + wait) == (1, 1)
    assert shadow.agreed(4 + wait) == (1, 0)
    assert shadow.look(4 + wait) == []
    assert shadow.look() == []


def test_disagreements_come_newest_first_with_both_answers(shadow: Shadow) -> None:
    shadow.ask("cat", "cat", after=1)
    older = shadow.ask("cat", "dog", after=2, score=0.6)
    newer = shadow.ask("dog", "cat", after=3)
    first, second = shadow.differing()
    stable, copy = newer
    assert first.stable == Said(stable.id, "dog", 0.75)
    assert first.shadow == Said(copy.id, "cat", 0.75)
    assert (first.request_id, first.made_at, first.input_sha256) == (
        stable.request_id, moment_of(stable.id), stable.input_sha256,
    )  # fmt: skip
    assert second.shadow.prediction_id == older[1].id
    assert second.shadow.score == pytest.approx(0.6)
    assert shadow.differing(last=1) == [first]


def test_disagreements_are_found_among_the_newest_copies_and_stay_once_the_shadow_has_ended(
    shadow: Shadow, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [shadow.ask("cat", "dog", after=10 * n)[0].id for n in range(1, 6)]
    monkeypatch.setattr(shadows, "MOST_COPIES", 3)
    assert [one.stable.prediction_id for one in shadow.differing()] == asked[:1:-1]
    rollouts.advance(shadow.engine, shadow.rollout.id, 1, reason="a test", actor="a test")
    shadow.record(2, 70, label="dog")
    assert [one.stable.prediction_id for one in shadow.differing()] == asked[:1:-1]


def test_who_asks_of_a_rollout_without_a_shadow_or_of_none_is_told(swept_database: Database) -> None:
    plain = proposed(swept_database.engine, 5, 50)
    assert plain.differing() == []
    with pytest.raises(CanariError, match="there is no rollout"):
        shadows.disagreements(plain.engine, MODEL, plain.rollout.id + 1)
    with pytest.raises(CanariError, match="cats_dogs has no rollout"):
        shadows.disagreements(plain.engine, "cats_dogs", plain.rollout.id)
