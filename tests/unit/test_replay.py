"""Judging a rollout again, from plain looks and decisions."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pytest

from canari.observations import Evidence, Fault, FaultKind, Metric
from canari.policy import Course, Trial, Verdict, figures
from canari.policy.replay import Compared, Decided, Look, replay
from canari.spec_canary import Canary

RULES = Canary.model_validate(
    {
        "steps": [20, 50],
        "bake": "60s",
        "metrics": {"errors": {"margin": 0.02}, "throttled": None, "latency": None, "satisfaction": None},
    }
)
HOLE = Fault(FaultKind.UNANSWERED, "proxy p did not answer")
BEGUN = 1_000_000


@dataclass
class Played:
    """A rollout that opened at BEGUN and is looked at every ten seconds."""

    trial: Trial = field(default_factory=lambda: Trial(RULES, stable=1, canary=2))
    looks: list[Look] = field(default_factory=list)
    made: list[Decided] = field(default_factory=lambda: [Decided(1, "start", "ada", BEGUN, "1")])
    now: int = BEGUN
    began: int = BEGUN
    step: int = 0
    paused: int = 0  # ms

    def look(self, bad: int = 0, *faults: Fault) -> Verdict:
        """A look, and what the judge makes of it."""
        self.now += 10_000
        rows = [
            Evidence(7, self.now, self.step, version, Metric.ERRORS, n, x)
            for version, n, x in ((1, 100, 0), (2, 25 if self.step == 0 else 100, bad))
        ]
        self.looks.append((self.now, rows, faults))
        self.trial.take(self.now, rows, faults)
        course = Course(
            self.step, (self.now - self.began) / 1000, (self.now - BEGUN - self.paused) / 1000, promoted=self.step > 1
        )
        said = self.trial.judge(self.now, course, faults)
        if said.verdict is not Verdict.HOLD:
            action = {Verdict.ADVANCE: "advance", Verdict.PROMOTE: "promoted", Verdict.ROLL_BACK: "rolled_back"}
            document = figures(said, self.trial.standings(course), at=self.now, course=course)
            self.decide(action[said.verdict], "controller", self.now, document)
            self.step, self.began = self.step + 1, self.now + 20
        return said.verdict

    def decide(self, action: str, actor: str, tick: int | None = None, verdict: dict[str, Any] | None = None) -> None:
        """A decision, dated a moment later."""
        self.made.append(Decided(len(self.made) + 1, action, actor, self.now + 20, "1", tick, verdict))

    def until(self, verdict: Verdict, bad: int = 0) -> None:
        """Look until something is decided."""
        while (said := self.look(bad)) is Verdict.HOLD:
            pass
        assert said is verdict

    def again(self, made: list[Decided] | None = None, code_version: str = "1") -> list[Compared]:
        """What a replay finds."""
        decisions = self.made if made is None else made
        return replay(RULES, decisions, self.looks, stable=1, canary=2, code_version=code_version)


@pytest.fixture
def promoted() -> Played:
    played = Played()
    played.look(0, HOLE)
    played.until(Verdict.ADVANCE)
    played.until(Verdict.PROMOTE)
    return played


def differing(found: list[Compared]) -> list[tuple[int | None, str | None, str | None]]:
    return [(one.id, one.recorded, one.recomputed) for one in found if not one.same]


def test_the_same_looks_lead_to_the_same_verdicts(promoted: Played) -> None:
    promoted.until(Verdict.ROLL_BACK, bad=10)
    found = promoted.again()
    assert [(one.action, one.actor, one.recorded, one.recomputed, one.why) for one in found] == [
        ("start", "ada", None, None, None),
        ("advance", "controller", "advance", "advance", None),
        ("promoted", "controller", "promote", "promote", None),
        ("rolled_back", "controller", "roll_back", "roll_back", None),
    ]
    assert differing(found) == []


def test_a_figure_a_sentence_and_a_time_that_differ_are_told(promoted: Played) -> None:
    start, advance, last = promoted.made
    assert last.verdict is not None
    standing = {
        **last.verdict["metrics"]["errors"],
        "log_no_worse": last.verdict["metrics"]["errors"]["log_no_worse"] * (1 + 1e-8),
    }
    for change, told in (
        ({"metrics": {"errors": standing}}, "errors.log_no_worse: "),
        ({"metrics": {}}, "errors: not recorded"),
        ({"sentence": "so be it"}, "sentence: 'so be it' recorded"),
        ({"verdict": "hold"}, "promoted is not what the verdict says"),
        ({"step": 0}, "step: 0 recorded, 1 by the history"),
        ({"step_seconds": 500.0}, "step_seconds: 500 recorded"),
    ):
        changed = replace(last, verdict={**last.verdict, **change})
        [differs] = [one for one in promoted.again([start, advance, changed]) if not one.same]
        assert told in str(differs.why), change


def test_figures_that_are_alike_but_for_rounding_are_the_same(promoted: Played) -> None:
    *others, last = promoted.made
    assert last.verdict is not None
    standing = last.verdict["metrics"]["errors"]
    near = {**standing, "log_no_worse": standing["log_no_worse"] * (1 + 1e-12)}
    changed = replace(last, verdict={**last.verdict, "metrics": {"errors": near}})
    assert differing(promoted.again([*others, changed])) == []


def test_a_decision_of_another_release_is_told_and_not_held_against_it(promoted: Played) -> None:
    found = promoted.again(code_version="2")
    assert differing(found) == []
    assert [one.why for one in found] == [None, *["decided by release 1, judged again by 2"] * 2]


def test_a_look_that_should_have_led_to_a_verdict_is_told_once(promoted: Played) -> None:
    start, *_ = promoted.made
    for _ in range(12):
        promoted.looks.append((promoted.looks[-1][0] + 10_000, [], [HOLE]))
    found = promoted.again([start])
    # What only faults could be held against, faults now bar.
    assert differing(found) == [(None, "hold", "advance")]
    [missed] = [one for one in found if not one.same]
    assert missed.at == promoted.made[1].verdict["at"]  # type: ignore[index]
    assert str(missed.why).startswith("no worse than stable")


def test_what_was_done_about_a_look_soon_after_was_not_missed(promoted: Played) -> None:
    start, advance, last = promoted.made
    tick = promoted.looks[-1][0]
    at = tick + 30_000
    assert last.verdict is not None
    late = replace(
        last, at=at + 20, verdict={**last.verdict, "at": at, "step_seconds": last.verdict["step_seconds"] + 30}
    )
    found = promoted.again([start, advance, late])
    assert [(one.id, one.same) for one in found[2:]] == [(None, True), (last.id, True)]
    assert "promoted 30 s later, by controller" in str(found[2].why)
    person = Decided(9, "aborted", "ada", tick + 2000, "1")
    assert differing(promoted.again([start, advance, person])) == []
    too_late = replace(person, at=tick + 90_000)
    assert differing(promoted.again([start, advance, too_late])) == [(None, "hold", "promote")]


def test_the_newest_look_may_not_be_acted_on_yet(promoted: Played) -> None:
    start, advance, _ = promoted.made
    found = promoted.again([start, advance])
    assert differing(found) == []
    assert "nothing is decided yet" in str(found[-1].why)


def test_a_pause_is_left_out_of_the_time_it_was_open_and_nothing_advances_in_it() -> None:
    played = Played()
    played.look()
    played.decide("pause", "ada")
    for _ in range(20):
        played.now += 10_000
        rows = [Evidence(7, played.now, 0, version, Metric.ERRORS, 100, 0) for version in (1, 2)]
        rows[1] = replace(rows[1], n=25)
        played.looks.append((played.now, rows, ()))
        played.trial.take(played.now, rows, ())
    played.decide("resume", "ada")
    played.paused = 200_000
    played.until(Verdict.ADVANCE)
    found = played.again()
    assert differing(found) == []
    assert found[-1].why is None


def test_a_clock_of_people_that_is_ahead_changes_no_verdict() -> None:
    played = Played()
    for _ in range(5):
        played.look()
    played.decide("pause", "ada")
    played.decide("resume", "ada")
    played.made[-1] = replace(played.made[-1], at=played.now + 15_000)
    played.until(Verdict.ADVANCE)
    assert played.made[-1].at < played.made[-2].at
    assert differing(played.again()) == []


def test_what_people_steer_is_not_judged() -> None:
    made = [Decided(1, "start", "ada", 1, "1"), Decided(2, "weight", "ada", 2, "1")]
    found = replay(None, made, [], stable=1, canary=2, code_version="1")
    assert [(one.id, one.recomputed, one.same) for one in found] == [(1, None, True), (2, None, True)]


def test_after_a_person_promoted_nothing_is_judged() -> None:
    played = Played()
    played.look()
    played.decide("promoted", "ada")
    tick = played.now + 10_000
    bad = [Evidence(7, tick, 1, 1, Metric.ERRORS, 100, 0), Evidence(7, tick, 1, 2, Metric.ERRORS, 100, 90)]
    played.looks.append((tick, bad, ()))
    assert [asdict(one)["same"] for one in played.again()] == [True, True]
