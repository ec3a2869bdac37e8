from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from canari.evidence import Mark, Marks, Seen, counts_document, counts_of, latency_bound, look, tick_after
from canari.observations import Counters, Counts, FaultKind, Metric
from canari.types import Arm

STABLE, CANARY = "route/0", "route/1"
NOON = int(datetime(2026, 5, 4, 12, tzinfo=UTC).timestamp() * 1000)


def counts(n: int = 0, bad: int = 0, throttled: int = 0, slow: int = 0, **more: int) -> Counts:
    """`n` answers: `bad` of status 500, `throttled` of 429, the rest of 200; `slow` of them take 2 s, others 20 ms."""
    classes = {digit: k for digit, k in {2: n - bad - throttled, 4: throttled, 5: bad}.items() if k}
    latency = ((25.0, n - slow), (500.0, n - slow), (1000.0, n - slow), (math.inf, n))
    return Counts(completed=n + more.get("lost", 0), classes=classes, throttled=throttled, latency=latency)


def arms(stable: int = 1, canary: int = 2, step: int = 0, rollout: int = 7) -> dict[str, Arm]:
    return {STABLE: Arm(rollout, step, stable), CANARY: Arm(rollout, step, canary)}


@dataclass
class Watch:
    """Looks one after the other, as a controller makes them."""

    marks: Marks = field(default_factory=dict)
    tick: int = NOON
    found: list[Seen] = field(default_factory=list)

    def look(self, counters: Counters | None, wanted: Mapping[str, Arm] | None = None, *, settled: bool = True) -> Seen:
        self.tick += 1000
        wanted = arms() if wanted is None else wanted
        seen = look(self.marks, counters, wanted, rollout=7, tick=self.tick, settled=settled, budget_ms=400)
        self.marks = seen.marks
        self.found.append(seen)
        return seen

    def sums(self, metric: Metric = Metric.ERRORS) -> dict[int, tuple[int, int]]:
        n, bad = Counter[int](), Counter[int]()
        for row in (row for seen in self.found for row in seen.evidence if row.metric is metric):
            n[row.version] += row.n
            bad[row.version] += row.bad
        return {version: (n[version], bad[version]) for version in n}


def figures(seen: Seen) -> dict[tuple[int, int, str], tuple[int, int]]:
    return {(row.step, row.version, row.metric.value): (row.n, row.bad) for row in seen.evidence}


def kinds(seen: Seen) -> list[FaultKind]:
    return [fault.kind for fault in seen.faults]


@pytest.fixture
def watch() -> Watch:
    """Two arms with some history, looked at once."""
    watch = Watch()
    watch.look({"a": {STABLE: counts(1000, 10), CANARY: counts(100, 5)}})
    return watch


def test_what_was_counted_before_the_first_look_is_left_out(watch: Watch) -> None:
    assert watch.found[0].evidence == ()
    assert watch.found[0].faults == ()


def test_each_arm_gets_what_its_cluster_counted_more(watch: Watch) -> None:
    stable, canary = counts(1090, 12, throttled=3), counts(110, 7, throttled=1, slow=4)
    seen = watch.look({"a": {STABLE: stable, CANARY: canary}})
    assert figures(seen) == {
        (0, 1, "errors"): (90, 2),
        (0, 1, "throttled"): (90, 3),
        (0, 1, "latency"): (90, 0),
        (0, 2, "errors"): (10, 2),
        (0, 2, "throttled"): (10, 1),
        (0, 2, "latency"): (10, 4),
    }
    assert seen.faults == ()
    assert watch.look({"a": {STABLE: stable, CANARY: canary}}).evidence == ()


def test_proxies_are_summed_and_one_that_is_new_counts_from_its_beginning(watch: Watch) -> None:
    watch.look(
        {"a": {STABLE: counts(1010, 10), CANARY: counts(101, 5)}, "b": {STABLE: counts(5), CANARY: counts(4, 1)}}
    )
    assert watch.sums() == {1: (15, 0), 2: (5, 1)}


def test_a_canarys_cluster_that_came_after_the_first_look_counts_from_its_beginning() -> None:
    watch = Watch()
    watch.look({"a": {STABLE: counts(1000, 10)}})
    watch.look({"a": {STABLE: counts(1010, 10), CANARY: counts(2, 1)}})
    assert watch.sums() == {1: (10, 0), 2: (2, 1)}


def test_a_proxy_that_did_not_answer_at_the_first_look_counts_from_when_it_does() -> None:
    watch = Watch()
    first = {STABLE: counts(1000), CANARY: counts(100)}
    watch.look({"a": first, "b": None})
    watch.look({"a": first, "b": {STABLE: counts(500), CANARY: counts(50)}})
    assert watch.sums() == {}
    watch.look({"a": first, "b": {STABLE: counts(507), CANARY: counts(51)}})
    assert watch.sums() == {1: (7, 0), 2: (1, 0)}


@pytest.mark.parametrize("nothing", [None, {}, {"a": None}])
def test_without_an_answer_there_is_no_evidence_and_nothing_is_missed(watch: Watch, nothing: Counters | None) -> None:
    seen = watch.look(nothing)
    assert (seen.evidence, kinds(seen)) == ((), [FaultKind.SCRAPE])
    watch.look({"a": {STABLE: counts(1010, 10), CANARY: counts(101, 5)}})
    assert watch.sums() == {1: (10, 0), 2: (1, 0)}


def test_a_proxy_that_does_not_answer_is_told_and_read_later(watch: Watch) -> None:
    later = {STABLE: counts(1010, 10), CANARY: counts(101, 5)}
    seen = watch.look({"a": None, "b": {STABLE: counts(1), CANARY: counts()}})
    assert [fault.sentence for fault in seen.faults] == ["proxy a did not answer: what it counts is read later"]
    watch.look({"a": later, "b": {STABLE: counts(1), CANARY: counts()}})
    assert watch.sums() == {1: (11, 0), 2: (1, 0)}


def test_a_proxy_that_vanished_is_told_with_the_time_from_which_its_counts_are_missing(watch: Watch) -> None:
    seen = watch.look({"b": {STABLE: counts(3), CANARY: counts(1)}})
    assert [fault.sentence for fault in seen.faults] == [
        "proxy a is gone: what it counted after 12:00:01 UTC is not known"
    ]
    assert watch.sums() == {1: (3, 0), 2: (1, 0)}


def test_counts_that_fell_begin_anew_and_the_hole_is_told(watch: Watch) -> None:
    seen = watch.look({"a": {STABLE: counts(1010, 10), CANARY: counts(9, 2)}})
    assert [fault.sentence for fault in seen.faults] == [
        "version 2's counts began anew: what it counted after 12:00:01 UTC is not known"
    ]
    assert watch.sums() == {1: (10, 0), 2: (9, 2)}
    assert watch.sums(Metric.LATENCY) == {1: (10, 0), 2: (9, 0)}


def test_statuses_that_were_lost_are_told_and_never_taken_for_good_ones(watch: Watch) -> None:
    anew = replace(counts(8, 2), completed=140)
    seen = watch.look({"a": {STABLE: counts(1010, 10), CANARY: anew}})
    assert kinds(seen) == [FaultKind.RESET, FaultKind.LOST]
    assert seen.faults[1].sentence == "the status of 32 of 40 answers of version 2 is lost"
    assert figures(seen)[0, 2, "errors"] == (8, 2)


def test_statuses_counted_after_their_request_are_found_at_the_next_look(watch: Watch) -> None:
    ahead = replace(counts(110, 6), completed=112)
    assert watch.look({"a": {STABLE: counts(1000, 10), CANARY: ahead}}).faults == ()
    early_429 = replace(counts(112, 6), throttled=1)
    assert watch.look({"a": {STABLE: counts(1000, 10), CANARY: early_429}}).faults == ()
    watch.look({"a": {STABLE: counts(1000, 10), CANARY: counts(114, 6, throttled=1)}})
    assert watch.sums()[2] == (14, 1)
    assert watch.sums(Metric.THROTTLED)[2] == (14, 1)


def test_a_change_of_weight_loses_nothing_and_each_step_gets_its_own(watch: Watch) -> None:
    watch.look({"a": {STABLE: counts(1010, 10), CANARY: counts(110, 5)}})
    during = watch.look({"a": {STABLE: counts(1015, 10), CANARY: counts(117, 5)}}, arms(step=1), settled=False)
    closing = watch.look({"a": {STABLE: counts(1016, 10), CANARY: counts(119, 5)}}, arms(step=1))
    after = watch.look({"a": {STABLE: counts(1020, 10), CANARY: counts(129, 5)}}, arms(step=1))
    assert [{(row.step, row.version): row.n for row in seen.evidence} for seen in (during, closing, after)] == [
        {(0, 1): 5, (0, 2): 7},
        {(0, 1): 1, (0, 2): 2},
        {(1, 1): 4, (1, 2): 10},
    ]
    assert watch.sums() == {1: (20, 0), 2: (29, 0)}


def test_what_came_while_a_place_changed_its_version_is_nobodys_and_is_told(watch: Watch) -> None:
    swapped = arms(stable=1, canary=3)
    errs = {STABLE: counts(1010, 10), CANARY: counts(130, 35)}
    seen = watch.look({"a": errs}, swapped, settled=False)
    assert [fault.sentence for fault in seen.faults] == [
        "30 requests to route/1 came while the split changed: they count for no version"
    ]
    watch.look({"a": {STABLE: counts(1010, 10), CANARY: counts(140, 35)}}, swapped)
    assert watch.sums() == {1: (10, 0)}
    watch.look({"a": {STABLE: counts(1010, 10), CANARY: counts(150, 35)}}, swapped)
    assert watch.sums() == {1: (10, 0), 3: (10, 0)}


def test_a_proxy_that_missed_a_change_of_version_counts_for_nobody_until_it_is_read_again(watch: Watch) -> None:
    still = {STABLE: counts(), CANARY: counts()}
    watch.look({"a": {STABLE: counts(1000, 10), CANARY: counts(100, 5)}, "b": still})
    watch.look({"a": None, "b": still}, arms(canary=3))
    watch.look({"a": None, "b": still}, arms(canary=2))
    watch.look({"a": {STABLE: counts(1001, 10), CANARY: counts(200, 5)}, "b": still}, arms(canary=2))
    assert watch.sums() == {1: (1, 0)}


def test_a_new_proxy_counts_for_nobody_while_the_others_disagree_on_what_its_place_served(watch: Watch) -> None:
    still, swapped = {STABLE: counts(), CANARY: counts()}, arms(canary=3)
    watch.look({"a": {STABLE: counts(1000, 10), CANARY: counts(100, 5)}, "b": still})
    watch.look({"a": None, "b": still}, swapped)
    seen = watch.look({"a": None, "b": still, "c": {STABLE: counts(5), CANARY: counts(4)}}, swapped)
    assert kinds(seen) == [FaultKind.UNANSWERED, FaultKind.MOVED]
    assert watch.sums() == {1: (5, 0)}


def test_the_last_requests_of_an_arm_that_left_the_split_are_its_own(watch: Watch) -> None:
    alone = {STABLE: Arm(7, 0, 1)}
    watch.look({"a": {STABLE: counts(1000, 10), CANARY: counts(103, 8)}}, alone)
    assert watch.sums() == {2: (3, 3)}
    seen = watch.look({"a": {STABLE: counts(1000, 10)}}, alone)
    assert (seen.evidence, seen.faults, list(seen.marks)) == ((), (), [("a", STABLE)])


def test_an_arm_whose_cluster_left_the_proxy_and_came_again_counts_anew_and_the_hole_is_told(watch: Watch) -> None:
    seen = watch.look({"a": {STABLE: counts(1000, 10)}})
    assert [fault.sentence for fault in seen.faults] == [
        "route/1 left proxy a: what it counted after 12:00:01 UTC is not known"
    ]
    watch.look({"a": {STABLE: counts(1000, 10), CANARY: counts(4)}})
    assert watch.sums() == {2: (4, 0)}


def test_requests_outside_of_the_rollout_are_no_evidence() -> None:
    watch = Watch()
    for n in (10, 20, 30):
        watch.look({"a": {STABLE: counts(n)}}, {STABLE: Arm(0, 0, 1)})
    assert watch.sums() == {}


def test_without_a_latency_budget_latency_is_not_looked_at() -> None:
    marks = {("a", CANARY): Mark(Counts(), arms()[CANARY], NOON)}
    seen = look(marks, {"a": {CANARY: counts(5)}}, arms(), rollout=7, tick=NOON + 1, settled=True, budget_ms=None)
    assert {row.metric for row in seen.evidence} == {Metric.ERRORS, Metric.THROTTLED}


def test_a_budget_is_rounded_up_to_a_bound_of_envoys() -> None:
    latency = ((250.0, 1), (500.0, 2), (1000.0, 2), (math.inf, 3))
    assert [latency_bound(budget, latency) for budget in (250, 251, 500, 1001)] == [250, 500, 500, math.inf]


def test_ticks_rise_even_when_the_clock_goes_back() -> None:
    now = datetime(2026, 5, 4, 12, tzinfo=UTC)
    assert tick_after(None, now) == (NOON, None)
    assert tick_after(NOON - 1, now) == (NOON, None)
    tick, fault = tick_after(NOON + 60_000, now)
    assert tick == NOON + 60_001
    assert fault is not None
    assert fault.sentence.startswith("the clock went back from 12:01:00 UTC to 12:00:00 UTC")


def test_marks_survive_as_json() -> None:
    one = counts(10, 2, throttled=1, slow=3)
    assert counts_of(counts_document(one)) == one


@dataclass
class Proxy:
    """What a proxy really does: it follows the split in its own time, and counts by place."""

    serves: dict[str, int]
    counts: dict[str, Counts] = field(default_factory=lambda: {STABLE: counts(), CANARY: counts()})

    def answer(self, place: str, n: int) -> int:
        """Version 2 always errs, others never do: so no request can hide on another version's side."""
        version = self.serves[place]
        old, bad = self.counts[place], n if version == 2 else 0
        total = old.completed + n
        self.counts[place] = counts(total, old.classes.get(5, 0) + bad)
        return version


@dataclass
class Fleet:
    """Proxies, what they truly answered since the first look, and a controller that watches."""

    watch: Watch = field(default_factory=Watch)
    proxies: dict[str, Proxy] = field(default_factory=lambda: {"p0": Proxy({STABLE: 1, CANARY: 2})})
    truth: Counter[int] = field(default_factory=Counter)
    wanted: dict[str, Arm] = field(default_factory=arms)
    settled: bool = True
    named: int = 0
    silent: set[str] = field(default_factory=set)
    unread: Counter[tuple[str, str]] = field(default_factory=Counter)
    lost: int = 0

    def play(self, script: list[tuple[str, int, int]]) -> None:
        """A first look, what happens, and looks until everything that can be read has been."""
        for act in [("look", 0, 0), *script, ("settle", 0, 0), ("look", 0, 0), ("look", 0, 0)]:
            self.do(*act)

    def do(self, act: str, which: int, n: int) -> None:
        """One thing that happens, to the proxy `which`."""
        if act in {"look", "fail", "start"}:
            getattr(self, act)()
        elif self.proxies:
            getattr(self, act)(sorted(self.proxies)[which % len(self.proxies)], n)

    def look(self) -> None:
        answers = {p: None if p in self.silent else dict(x.counts) for p, x in self.proxies.items()}
        self.watch.look(answers, self.wanted, settled=self.settled)
        self.unread = Counter({key: n for key, n in self.unread.items() if key[0] in self.silent})
        self.silent = set()

    def fail(self) -> None:
        self.watch.look(None, self.wanted, settled=self.settled)

    def start(self) -> None:
        self.named += 1
        self.proxies[f"p{self.named}"] = Proxy({place: arm.version for place, arm in self.wanted.items()})

    def stable(self, name: str, n: int) -> None:
        self.truth[self.proxies[name].answer(STABLE, n)] += n
        self.unread[name, STABLE] += n

    def canary(self, name: str, n: int) -> None:
        self.truth[self.proxies[name].answer(CANARY, n)] += n
        self.unread[name, CANARY] += n

    def silence(self, name: str, _: int) -> None:
        self.silent.add(name)

    def vanish(self, name: str, _: int) -> None:
        del self.proxies[name]
        self.lost += self.unread.pop((name, STABLE), 0) + self.unread.pop((name, CANARY), 0)

    def reset(self, name: str, n: int) -> None:
        place = CANARY if n % 2 else STABLE
        self.proxies[name].counts[place] = counts()
        self.lost += self.unread.pop((name, place), 0)
        # Counts that outgrow what they were before anybody looks do not show that they began anew.
        self.silent.discard(name)
        self.look()

    def weight(self, _: str, __: int) -> None:
        self._change(self.wanted[CANARY].version)

    def swap(self, _: str, __: int) -> None:
        self._change(5 - self.wanted[CANARY].version)

    def _change(self, canary: int) -> None:
        # A controller looks right before it changes the split.
        self.look()
        self.wanted = arms(step=self.wanted[CANARY].step + 1, canary=canary)
        self.settled = False

    def follow(self, name: str, _: int) -> None:
        self.proxies[name].serves = {place: arm.version for place, arm in self.wanted.items()}

    def settle(self, _: str, __: int) -> None:
        for name in self.proxies:
            self.follow(name, 0)
        self.settled = True


def acts(*names: str) -> st.SearchStrategy[list[tuple[str, int, int]]]:
    return st.lists(st.tuples(st.sampled_from(names), st.integers(0, 5), st.integers(1, 50)), max_size=60)


GENTLE = ("stable", "canary", "look", "fail", "silence", "start", "weight", "settle")


@given(acts(*GENTLE))
@example([(act, 0, 1) for act in ("start", "weight", "settle", "silence", "look", "start")] + [("stable", 2, 1)])
@settings(max_examples=300, deadline=None)
def test_where_nothing_is_lost_every_request_counts_once_on_its_own_side(script: list[tuple[str, int, int]]) -> None:
    fleet = Fleet()
    fleet.play(script)
    assert fleet.watch.sums() == {version: (n, n if version == 2 else 0) for version, n in fleet.truth.items() if n}
    assert {fault.kind for seen in fleet.watch.found for fault in seen.faults} <= {
        FaultKind.SCRAPE,
        FaultKind.UNANSWERED,
    }


@example([("swap", 0, 1), ("follow", 0, 1), ("canary", 0, 1), ("silence", 0, 1), ("swap", 0, 1)])
@given(acts(*GENTLE, "vanish", "reset", "swap", "follow"))
@settings(max_examples=500, deadline=None)
def test_whatever_happens_nothing_counts_twice_or_on_the_other_side(script: list[tuple[str, int, int]]) -> None:
    fleet = Fleet()
    fleet.play(script)
    rows = [row for seen in fleet.watch.found for row in seen.evidence]
    assert all(0 <= row.bad <= row.n for row in rows)
    for metric in (Metric.ERRORS, Metric.LATENCY):
        for version, (n, bad) in fleet.watch.sums(metric).items():
            assert n <= fleet.truth[version]
            if metric is Metric.ERRORS:
                assert bad == (n if version == 2 else 0)
    told = [fault for seen in fleet.watch.found for fault in seen.faults]
    moved = sum(int(fault.sentence.split()[0]) for fault in told if fault.kind is FaultKind.MOVED)
    counted = sum(n for n, _ in fleet.watch.sums().values())
    assert counted == sum(fleet.truth.values()) - fleet.lost - moved
