"""Votes, labels and counts as a rollout's evidence, in a real database."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, text

from canari.bursts import Pace
from canari.cohorts import SAFE_LAG
from canari.evidence import Mark, Seen
from canari.ids import moment_of
from canari.observations import Counts, Evidence, Fault, FaultKind, Metric
from canari.spec_file import load_spec
from canari.store import evidence, feedback, predictions, rollouts, versions
from canari.store.evidence import Known, Look, Recorded
from canari.types import Arm, Feedback, Prediction, RequestKind
from tests.conftest import ROOT, Database
from tests.integration.store.samples_of import id_at, prediction

MODEL = "drift"
AGE = timedelta(minutes=10)
VOTES = {Metric.SATISFACTION: AGE}
LABELS = {Metric.ACCURACY: AGE}
LATER = datetime.now(UTC) + timedelta(hours=2)


@dataclass
class Trial:
    """A rollout of version 2 beside version 1, what people ask and say, and looks at it."""

    engine: Engine
    rollout: int
    begun: datetime
    ticks: count[int] = field(default_factory=lambda: count(1000))

    def ask(self, version: int = 2, after: float = 1, subject: str = "visitor:ada", **changes: Any) -> Prediction:
        """A prediction, some minutes after the rollout began."""
        at = id_at(self.begun + timedelta(minutes=after))
        values: dict[str, Any] = {"id": at, "rollout": self.rollout, "subject": subject, "recorder": uuid4(), **changes}
        made = prediction(**values)
        predictions.append(self.engine, MODEL, version, [made])
        return made

    def say(
        self,
        about: Prediction | UUID,
        right: bool = True,
        subject: str | None = None,
        label: str | None = None,
        late: timedelta = timedelta(minutes=1),
    ) -> None:
        """A vote, `late` after its request."""
        made = about if isinstance(about, UUID) else about.id
        said_by = subject or (about.subject if isinstance(about, Prediction) else "visitor:ada")
        feedback.put(self.engine, Feedback(made, MODEL, said_by, right=right, label=label, comment=None))
        with self.engine.begin() as connection:
            moment = {"at": moment_of(made) + late, "id": made, "subject": said_by}
            connection.execute(
                text(
                    "UPDATE feedback SET created_at = :at, changed_at = :at "
                    "WHERE prediction_id = :id AND subject = :subject"
                ),
                moment,
            )

    def known(self) -> Known:
        return evidence.known(self.engine, [self.rollout])[self.rollout]

    def look(
        self,
        ages: dict[Metric, timedelta] = VOTES,
        seen: Seen | None = None,
        known: Known | None = None,
        now: datetime = LATER,
    ) -> Recorded | None:
        before = known or self.known()
        look = Look(before, next(self.ticks), seen or Seen((), before.marks), now, ages)
        return evidence.record(self.engine, [look]).get(self.rollout)

    def look_at_all(self, ages: dict[Metric, timedelta] = VOTES) -> list[Fault]:
        """Look until every request so far has been; returns what was told."""
        faults: list[Fault] = []
        for _ in range(20):
            recorded = self.look(ages)
            assert recorded is not None
            faults += recorded.faults
        return faults

    def sums(self, metric: Metric) -> dict[int, tuple[int, int]]:
        return totals(rows_of(self.engine, self.rollout), metric)


def rows_of(engine: Engine, rollout: int, *, after: int | None = None) -> list[Evidence]:
    return [row for _, found, _ in evidence.looks(engine, rollout, after=after) for row in found]


def faults_of(engine: Engine, rollout: int) -> list[tuple[int, Fault]]:
    return [(tick, fault) for tick, _, told in evidence.looks(engine, rollout) for fault in told]


def totals(rows: Iterable[Evidence], metric: Metric) -> dict[int, tuple[int, int]]:
    n, bad = Counter[int](), Counter[int]()
    for row in rows:
        if row.metric is metric:
            n[row.version] += row.n
            bad[row.version] += row.bad
    return {version: (n[version], bad[version]) for version in n}


@pytest.fixture
def trial(swept_database: Database) -> Trial:
    engine, spec = swept_database.engine, load_spec(ROOT / "bentos" / MODEL)
    for number in (1, 2):
        versions.allot(engine, spec, manifest_digest="m", synthetic=True)
        versions.mark_ready(engine, MODEL, number, archive="a" * 64, metrics={})
    rollouts.deploy(engine, MODEL, 1, weight=100, actor="a test")
    opened = rollouts.deploy(engine, MODEL, 2, weight=20, actor="a test")
    assert opened is not None
    return Trial(engine, opened.id, opened.created_at)


def test_votes_are_counted_by_the_stamp_of_their_prediction(trial: Trial) -> None:
    for version, right in [(1, True), (1, False), (2, False)]:
        trial.say(trial.ask(version, subject=f"visitor:{uuid4()}"), right)
    trial.ask(1)
    trial.look_at_all()
    assert trial.sums(Metric.SATISFACTION) == {1: (2, 1), 2: (1, 1)}
    assert trial.sums(Metric.PARTICIPATION) == {1: (3, 1), 2: (1, 0)}


def test_what_did_not_come_by_the_split_never_counts(trial: Trial) -> None:
    for kind in (RequestKind.PIN, RequestKind.SHADOW, RequestKind.DIRECT):
        trial.say(trial.ask(kind=kind, subject=f"visitor:{kind}"))
    trial.say(trial.ask(rollout=trial.rollout + 1, subject="visitor:eve"))
    trial.say(trial.ask(status=503, label=None, subject="visitor:bob"))
    trial.say(id_at(trial.begun + timedelta(minutes=1)))
    nameless = id_at(trial.begun + timedelta(minutes=1))
    trial.say(trial.ask(id=nameless, subject=f"anonymous:{nameless}"))
    trial.look_at_all()
    assert trial.sums(Metric.SATISFACTION) == {}
    assert trial.sums(Metric.PARTICIPATION) == {2: (1, 1)}


def test_a_person_has_one_vote_on_each_version_however_long_the_rollout(trial: Trial) -> None:
    for minutes in (1, 2, 25, 60):
        trial.say(trial.ask(2, after=minutes), right=minutes > 1)
    trial.say(trial.ask(1, after=30))
    trial.look_at_all()
    assert trial.sums(Metric.SATISFACTION) == {1: (1, 0), 2: (1, 1)}
    assert trial.sums(Metric.PARTICIPATION)[2] == (4, 0)


def test_a_prediction_has_one_vote_that_of_who_asked(trial: Trial) -> None:
    asked = trial.ask(2, subject="visitor:ada")
    for name in ("visitor:eve", "visitor:mallory", "visitor:ada"):
        trial.say(asked, right=name == "visitor:ada", subject=name)
    trial.look_at_all()
    assert trial.sums(Metric.SATISFACTION) == {2: (1, 0)}


def test_a_changed_mind_does_not_change_the_first_vote(trial: Trial) -> None:
    asked = trial.ask(2)
    trial.say(asked, right=True)
    trial.say(asked, right=False)
    trial.look_at_all()
    assert trial.sums(Metric.SATISFACTION) == {2: (1, 0)}


def test_a_vote_counts_only_when_it_comes_in_time_whenever_it_is_looked_at(trial: Trial) -> None:
    trial.say(trial.ask(2, subject="visitor:in-time"), late=AGE - timedelta(seconds=1))
    trial.say(trial.ask(2, subject="visitor:late"), late=AGE + timedelta(seconds=1))
    trial.look_at_all()
    assert trial.sums(Metric.SATISFACTION) == {2: (1, 0)}
    assert trial.sums(Metric.PARTICIPATION) == {2: (2, 1)}


def test_a_cohort_is_looked_at_once_it_is_old_enough_and_never_twice(trial: Trial) -> None:
    trial.say(trial.ask(2, after=1))
    old_enough = trial.begun + timedelta(minutes=2) + AGE + SAFE_LAG
    trial.look(now=old_enough - timedelta(minutes=1, seconds=30))
    assert trial.sums(Metric.SATISFACTION) == {}
    trial.look(now=old_enough)
    assert trial.sums(Metric.SATISFACTION) == {2: (1, 0)}
    trial.look(now=old_enough)
    trial.look(now=old_enough - timedelta(hours=1))
    trial.look_at_all()
    assert trial.sums(Metric.SATISFACTION) == {2: (1, 0)}


def test_a_vote_that_overtook_its_prediction_counts(trial: Trial) -> None:
    made = id_at(trial.begun + timedelta(minutes=1))
    trial.say(made)
    trial.ask(2, id=made)
    trial.look_at_all()
    assert trial.sums(Metric.SATISFACTION) == {2: (1, 0)}


def test_each_step_has_its_own_rows(trial: Trial) -> None:
    for step in (0, 1):
        trial.say(trial.ask(2, after=1 + step, step=step, subject=f"visitor:{step}"))
    trial.look_at_all()
    found = [row for row in rows_of(trial.engine, trial.rollout) if row.metric is Metric.SATISFACTION]
    assert [(row.step, row.version, row.n, row.tick == found[0].tick) for row in found] == [
        (0, 2, 1, True),
        (1, 2, 1, True),
    ]


def test_labels_of_who_has_a_name_all_count_and_a_visitors_once(trial: Trial) -> None:
    for minutes, truth in [(1, "cat"), (2, "dog"), (3, "dog")]:
        asked = trial.ask(2, after=minutes, subject="visitor:ada", label="cat")
        trial.say(asked, subject="account:registry", label=truth)
        trial.say(asked, subject="visitor:ada", label="cat")
    for minutes in (4, 5):
        trial.say(trial.ask(1, after=minutes, label="cat"), label="dog")
    trial.say(trial.ask(1, after=6, label="cat"))
    trial.say(trial.ask(1, after=7, label="cat"), label="dog", subject="account:registry", late=2 * AGE)
    trial.look_at_all(LABELS)
    assert trial.sums(Metric.ACCURACY) == {1: (1, 1), 2: (3, 2)}


def test_a_burst_on_one_version_leaves_the_votes_of_its_time_out(trial: Trial) -> None:
    for n in range(25):
        trial.say(trial.ask(2, after=1 + n, subject=f"visitor:{n}"))
        for _ in range(5):
            trial.ask(2, after=1 + n)
    for n in range(40):
        trial.say(trial.ask(2, after=45, subject=f"visitor:bought-{n}"), right=False)
    told = trial.look_at_all()
    assert {fault.kind for fault in told} == {FaultKind.BURST}
    assert trial.sums(Metric.SATISFACTION) == {2: (25, 0)}
    kept = [fault for _, fault in faults_of(trial.engine, trial.rollout)]
    assert kept == told
    assert trial.known().paces[2].votes == 25


def gateway(*rows: tuple[int, Metric, int, int], rollout: int, tick: int) -> tuple[Evidence, ...]:
    return tuple(Evidence(rollout, tick, 0, version, metric, n, bad) for version, metric, n, bad in rows)


def test_a_look_is_kept_whole_and_read_again_as_it_was(trial: Trial) -> None:
    known = trial.known()
    assert (known.tick, known.marks, known.versions) == (None, {}, (1, 2))
    rows = gateway((1, Metric.ERRORS, 90, 1), (2, Metric.ERRORS, 10, 0), rollout=trial.rollout, tick=5)
    counts = Counts(completed=90, classes={2: 89, 5: 1}, latency=((500.0, 80), (float("inf"), 90)))
    marks = {("p", "arm/drift/1"): Mark(counts, Arm(trial.rollout, 0, 1), 5), ("p", "x"): Mark(Counts(), None, 5)}
    told = (Fault(FaultKind.UNANSWERED, "proxy q did not answer"), Fault(FaultKind.RESET, "anew"))
    recorded = evidence.record(trial.engine, [Look(known, 5, Seen(rows, marks, told), LATER, {})])
    assert rows_of(trial.engine, trial.rollout) == list(rows)
    assert rows_of(trial.engine, trial.rollout, after=5) == []
    assert faults_of(trial.engine, trial.rollout) == [(5, told[0]), (5, told[1])]
    after = replace(known, tick=5, marks=marks, missing={1: 0, 2: 0})
    assert trial.known() == recorded[trial.rollout].known == after
    less = {("p", "x"): Mark(Counts(completed=3, classes={2: 3}), Arm(trial.rollout, 1, 2), 6)}
    trial.look(seen=Seen((), less), ages={})
    assert trial.known().marks == less


def test_who_looks_second_from_the_same_marks_writes_nothing(trial: Trial) -> None:
    trial.say(trial.ask(2))
    known = trial.known()
    rows = gateway((2, Metric.ERRORS, 10, 1), rollout=trial.rollout, tick=1)
    barrier, outcomes = threading.Barrier(4), list[bool]()

    def controller(tick: int) -> None:
        seen = Seen(tuple(replace(row, tick=tick) for row in rows), {})
        barrier.wait()
        outcomes.append(bool(evidence.record(trial.engine, [Look(known, tick, seen, LATER, VOTES)])))

    controllers = [threading.Thread(target=controller, args=(tick,)) for tick in range(1, 5)]
    for one in controllers:
        one.start()
    for one in controllers:
        one.join()
    assert sorted(outcomes) == [False, False, False, True]
    assert trial.sums(Metric.ERRORS) == {2: (10, 1)}
    trial.look_at_all()
    assert trial.sums(Metric.SATISFACTION) == {2: (1, 0)}


def test_a_look_that_finds_nothing_new_writes_nothing(trial: Trial) -> None:
    mark = Mark(Counts(completed=9, classes={2: 9}), Arm(trial.rollout, 0, 1), 5)
    trial.look(seen=Seen((), {("p", "arm/drift/1"): mark}), ages={})
    known = trial.known()
    again = trial.look(seen=Seen((), {("p", "arm/drift/1"): replace(mark, seen_at=6)}), ages={})
    assert again == Recorded(known, (), ())
    assert trial.known() == known


def test_a_rollouts_first_look_forgets_the_marks_of_the_one_before(trial: Trial) -> None:
    mark = {("p", "arm/drift/1"): Mark(Counts(completed=9), Arm(trial.rollout, 0, 1), 5)}
    trial.look(seen=Seen((), mark), ages={})
    rollouts.roll_back(trial.engine, MODEL, reason="a test", actor="a test")
    opened = rollouts.deploy(trial.engine, MODEL, 2, weight=20, actor="a test")
    assert opened is not None
    following = Trial(trial.engine, opened.id, opened.created_at)
    assert following.known().marks == {}
    fresh = {("q", "arm/drift/1"): Mark(Counts(completed=1), None, 5)}
    following.look(seen=Seen((), fresh), ages={})
    assert following.known().marks == fresh


def test_paces_and_moments_survive_a_restart(trial: Trial) -> None:
    trial.say(trial.ask(2))
    recorded = trial.look()
    assert recorded is not None
    assert trial.known() == recorded.known
    assert recorded.known.paces == {1: Pace(seconds=600.0), 2: Pace(1, 1, 600.0)}
    assert recorded.known.read_until[Metric.SATISFACTION] == trial.begun + timedelta(minutes=10)


def test_what_a_step_began_with_is_looked_at_after_the_next_has_begun(trial: Trial) -> None:
    trial.look(now=trial.begun + timedelta(seconds=1), seen=Seen((), {("p", "x"): Mark(Counts(), None, 5)}))
    trial.say(trial.ask(2))
    with trial.engine.begin() as connection:
        connection.execute(text("UPDATE rollouts SET step_started_at = step_started_at + interval '1 hour'"))
    trial.look_at_all()
    assert trial.sums(Metric.SATISFACTION) == {2: (1, 0)}


def test_predictions_that_were_never_recorded_are_told_once_when_votes_are_looked_at(trial: Trial) -> None:
    process = uuid4()
    trial.ask(1, recorder=uuid4(), seq=4)
    assert trial.look(ages={}, seen=Seen((), {("p", "x"): Mark(Counts(), None, 5)})) is not None
    assert trial.known().missing == {1: 3, 2: 0}
    trial.say(trial.ask(2, recorder=process, seq=1))
    trial.ask(2, recorder=process, seq=14)
    told = trial.look_at_all()
    assert told == [
        Fault(FaultKind.HOLE, "12 predictions of version 2 were never recorded: votes on them cannot count")
    ]
    assert [fault for _, fault in faults_of(trial.engine, trial.rollout)] == told
    assert trial.sums(Metric.SATISFACTION) == {2: (1, 0)}


def test_what_was_merely_late_fills_its_hole(trial: Trial) -> None:
    process = uuid4()
    trial.ask(2, after=1, recorder=process, seq=4)

    def looked() -> tuple[int, list[str]]:
        found = trial.look()
        assert found is not None
        return found.known.missing[2], [fault.sentence.partition(" of ")[0] for fault in found.faults]

    assert looked() == (3, [])
    trial.ask(2, recorder=process, seq=2)
    assert looked() == (2, [])
    trial.ask(2, recorder=process, seq=6)
    assert looked() == (3, ["1 prediction"])
