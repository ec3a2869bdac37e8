"""What a data policy lets a model learn from, and what never becomes part of the evaluation set."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from canari.curation import MOST_CONFIDENT, Curated, curate, news
from canari.dataset import digest, document, held_out
from canari.spec import DataPolicy, ModelSpec, TrainOn
from canari.spec_file import load_spec
from canari.types import Manifest, Origin, Sample
from tests.conftest import ROOT

DRIFT = load_spec(ROOT / "bentos" / "drift")
NUMBERS = count()


def policy(train_on: TrainOn) -> ModelSpec:
    return DRIFT.model_copy(update={"data": DataPolicy(train_on=train_on)})


def groups(*, evaluation: bool) -> Iterator[str]:
    """Groups of one side."""
    return (group for number in count() if held_out(group := f"g{number}", 0.2) == evaluation)


LEARNING, JUDGED = groups(evaluation=False), groups(evaluation=True)


def sample(
    label: str = "above", origin: Origin = Origin.TEAM, group: str | None = None, *, judged: bool = False
) -> Sample:
    group = group or next(JUDGED if judged else LEARNING)
    labelled_by = None if origin is Origin.TEAM else "a person"
    sha256 = f"{next(NUMBERS):064x}"
    return Sample(sha256, label, group, Path("x"), judged, "x", origin, labelled_by)


def names(curated: Curated) -> set[str]:
    return {one.sha256 for one in curated.samples}


def test_each_policy_takes_what_it_allows() -> None:
    team, accepted = sample(), sample("below", Origin.CURATED)
    sure = [sample(label, Origin.CONFIDENT) for label in ("above", "below")]
    allowed = {train_on: names(curate(policy(train_on), [team, accepted], sure)) for train_on in TrainOn}
    assert allowed[TrainOn.OWN] == {team.sha256}
    assert allowed[TrainOn.CURATED] == {team.sha256, accepted.sha256}
    assert allowed[TrainOn.CONFIDENT] == {team.sha256, accepted.sha256, *(one.sha256 for one in sure)}
    assert news(TrainOn.OWN) == [Origin.TEAM]
    assert news(TrainOn.CONFIDENT) == [Origin.CURATED, Origin.TEAM]


def test_what_users_sent_is_never_judged_on_and_never_like_what_is() -> None:
    judged = sample(judged=True)
    near = sample(origin=Origin.CURATED, group=judged.group)
    would_be = sample(origin=Origin.CURATED, group=next(JUDGED))
    apart = sample(origin=Origin.CURATED)
    found = curate(policy(TrainOn.CURATED), [judged, near, would_be, apart])
    assert names(found) == {judged.sha256, apart.sha256}
    assert [one.evaluation for one in found.samples if one.sha256 == apart.sha256] == [False]
    assert found.left_out == {"like a sample of the evaluation set": 2}


def test_a_group_never_lies_on_both_sides() -> None:
    """As it may where `evaluation.share` was changed between two additions."""
    judged = sample(judged=True)
    before = sample(group=judged.group)
    assert names(curate(policy(TrainOn.OWN), [judged, before])) == {judged.sha256}


def test_what_was_erased_never_comes_back_whoever_adds_it() -> None:
    one, other = sample(), sample(origin=Origin.CONFIDENT)
    found = curate(policy(TrainOn.CONFIDENT), [one], [other], erased={one.sha256, other.sha256})
    assert (found.samples, found.left_out) == ((), {"erased": 2})


def test_labels_that_the_model_has_no_more_are_left_out() -> None:
    assert curate(policy(TrainOn.OWN), [sample("beside")]).left_out == {"not one of the labels": 1}


def test_people_come_first_and_no_label_gets_more_than_twice_the_rarests() -> None:
    people = [sample("above") for _ in range(8)] + [sample("below")]
    sure = [sample(label, Origin.CONFIDENT) for label in ["above"] * 30 + ["below"] * 4]
    found = curate(policy(TrainOn.CONFIDENT), people, sure)
    learned = [one.label for one in found.samples]
    assert (learned.count("above"), learned.count("below")) == (10, 5)
    assert {one.sha256 for one in people} <= names(found)
    # The newest of each label.
    assert {one.sha256 for one in sure[:2]} <= names(found)
    assert found.origins == {"team": 9, "confident": 6}
    assert found.shares == {"above": pytest.approx(2 / 3, abs=1e-6), "below": pytest.approx(1 / 3, abs=1e-6)}
    assert curate(policy(TrainOn.CONFIDENT), people[:8], sure[:30]).origins == {"team": 8}


def test_the_newest_thousand_count_and_a_persons_label_goes_before_a_versions() -> None:
    sure = [sample(("above", "below")[n % 2], Origin.CONFIDENT) for n in range(MOST_CONFIDENT + 50)]
    found = curate(policy(TrainOn.CONFIDENT), [], sure)
    assert names(found) == {one.sha256 for one in sure[:MOST_CONFIDENT]}
    accepted = Sample(sure[0].sha256, "below", sure[0].group, Path("x"), evaluation=False, origin=Origin.CURATED)
    both = curate(policy(TrainOn.CONFIDENT), [accepted], sure)
    assert [one.label for one in both.samples if one.sha256 == sure[0].sha256] == ["below"]


def test_a_manifest_tells_where_a_users_sample_comes_from_and_keeps_its_digest_without_any() -> None:
    team, accepted = sample(), sample(origin=Origin.CURATED)
    own = document(Manifest("drift", (team,), synthetic=False))["samples"]
    assert own == [{"sha256": team.sha256, "label": "above", "group": team.group, "evaluation": False}]
    [row] = document(Manifest("drift", (accepted,), synthetic=False))["samples"]
    assert (row["origin"], row["labelled_by"]) == ("curated", "a person")
    same_by_team = Sample(accepted.sha256, "above", accepted.group, Path("x"), evaluation=False)
    assert digest(Manifest("drift", (accepted,), synthetic=False)) != digest(
        Manifest("drift", (same_by_team,), synthetic=False)
    )
