from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, func, insert, select, text

from canari.blobs import FolderBlobs
from canari.dataset import group_of
from canari.errors import Problem
from canari.ids import new_id
from canari.spec import InputKind, ModelSpec
from canari.spec_file import load_spec
from canari.store import erasures, inputs, reviews, samples, versions
from canari.store import tables as t
from canari.store.reviews import Decision, Reviewed, Word
from canari.types import Review
from tests.conftest import ROOT, Database
from tests.integration.store.queue_of import ADA, keep, kept_samples, photos, rows


def hash_of(subject: str) -> str:
    return hashlib.sha256(subject.encode()).hexdigest()


@dataclass
class Curator:
    """A person at work, and what the queue lies in."""

    engine: Engine
    blobs: FolderBlobs
    root: Path
    spec: ModelSpec

    def __call__(self, prediction_id: UUID, decision: Decision, label: str | None = None) -> Reviewed:
        word = Word(decision, "account:eve", label)
        return reviews.review(self.engine, self.blobs, self.spec, prediction_id, word, hash_of=hash_of)

    def refused(self, prediction_id: UUID, decision: Decision, label: str | None = None) -> str:
        """The problem's code, for what cannot be taken; nothing has changed then."""
        before = self.stands(prediction_id), rows(self.engine), kept_samples(self.root)
        with pytest.raises(Problem) as caught:
            self(prediction_id, decision, label)
        assert (self.stands(prediction_id), rows(self.engine), kept_samples(self.root)) == before
        return caught.value.code

    def stands(self, prediction_id: UUID) -> tuple[Any, ...] | None:
        """What was made of an input: review, label, by whom."""
        kept = inputs.read(self.engine, "cats_dogs", prediction_id)
        return (kept.review, kept.label, kept.reviewed_by) if kept else None


@pytest.fixture
def curator(swept_database: Database, tmp_path: Path) -> Curator:
    spec = load_spec(ROOT / "bentos" / "cats_dogs")
    versions.put_spec(swept_database.engine, spec)
    return Curator(swept_database.engine, FolderBlobs(tmp_path), tmp_path, spec)


def test_an_accepted_input_becomes_a_sample_with_its_bytes_and_where_it_comes_from(curator: Curator) -> None:
    content = next(photos())
    identifier = keep(curator.engine, curator.blobs, content)
    assert curator(identifier, "accept") == Reviewed(Review.ACCEPTED, "cat", changed=True)
    (row,) = rows(curator.engine)
    assert (row.model, row.label, row.origin, row.subject) == ("cats_dogs", "cat", "curated", ADA)
    assert (row.prediction_id, row.labelled_by, row.evaluation, row.synthetic) == (
        identifier, "account:eve", False, False,
    )  # fmt: skip
    assert row.group == group_of(content, InputKind.IMAGE)
    (sample,) = samples.all(curator.engine, "cats_dogs")
    assert (curator.root / sample.path).read_bytes() == content
    assert curator.stands(identifier) == ("accepted", "cat", "account:eve")


def test_the_same_word_again_changes_nothing_and_mends_what_a_killed_process_left(curator: Curator) -> None:
    identifier = keep(curator.engine, curator.blobs, next(photos()))
    curator(identifier, "relabel", "dog")
    (row,) = rows(curator.engine)
    curator.blobs.delete("samples/cats_dogs", row.sha256)
    assert curator(identifier, "relabel", "dog") == Reviewed(Review.RELABELLED, "dog", changed=False)
    assert kept_samples(curator.root) == {row.sha256}
    assert len(rows(curator.engine)) == 1


def test_a_mind_may_change(curator: Curator) -> None:
    identifier = keep(curator.engine, curator.blobs, next(photos()))
    curator(identifier, "refuse")
    assert (rows(curator.engine), kept_samples(curator.root)) == ([], set())
    assert curator(identifier, "relabel", "cat") == Reviewed(Review.ACCEPTED, "cat", changed=True)
    assert curator(identifier, "relabel", "dog").review is Review.RELABELLED
    assert [row.label for row in rows(curator.engine)] == ["dog"]
    assert curator(identifier, "refuse") == Reviewed(Review.REFUSED, None, changed=True)
    assert (rows(curator.engine), kept_samples(curator.root)) == ([], set())
    assert curator.stands(identifier) == ("refused", None, "account:eve")


def test_what_a_version_learned_from_stays_as_it_was_said(curator: Curator) -> None:
    identifier = keep(curator.engine, curator.blobs, next(photos()))
    curator(identifier, "accept")
    (row,) = rows(curator.engine)
    known = {"sha256": row.sha256, "label": "cat", "group": row.group, "evaluation": False}
    samples.put_manifest(curator.engine, "sure", "cats_dogs", {"samples": [{**known, "origin": "confident"}]})
    assert curator(identifier, "relabel", "dog").changed
    samples.put_manifest(curator.engine, "d", "cats_dogs", {"samples": [{**known, "origin": "curated"}]})
    assert curator.refused(identifier, "refuse") == "learned-from"
    number = versions.allot(curator.engine, curator.spec, manifest_digest="d", synthetic=False)
    with pytest.raises(Problem, match=f"by version {number},.*DELETE /api/cats_dogs/samples/{row.sha256}"):
        curator(identifier, "accept")
    assert not curator(identifier, "relabel", "dog").changed


def test_what_is_like_the_evaluation_set_is_never_learned_from(curator: Curator) -> None:
    would_be = keep(curator.engine, curator.blobs, next(photos(judged=True)))
    assert curator.refused(would_be, "accept") == "held-out"
    content = next(photos())
    identifier = keep(curator.engine, curator.blobs, content)
    with curator.engine.begin() as connection:
        values = {"model": "cats_dogs", "sha256": "1", "label": "cat", "group": group_of(content, InputKind.IMAGE)}
        connection.execute(insert(t.samples).values(**values, evaluation=True, synthetic=False, source=""))
    assert curator.refused(identifier, "relabel", "dog") == "held-out"
    assert curator(would_be, "refuse").review is Review.REFUSED


def test_what_cannot_be_taken_is_told(curator: Curator) -> None:
    engine, blobs = curator.engine, curator.blobs
    one, two, three, four = islice(photos(), 4)
    unanswered = keep(engine, blobs, one, answered=False)
    assert curator.refused(unanswered, "accept") == "no-answer"
    assert curator.refused(unanswered, "relabel", "fox") == "unknown-label"
    assert curator(unanswered, "relabel", "dog").review is Review.RELABELLED
    for gone in (
        keep(engine, blobs, two, consented=False),
        keep(engine, blobs, three, keep_until=func.now() - timedelta(days=1)),
        new_id(),
    ):
        assert curator.refused(gone, "refuse") == "unknown-input"
    assert curator.refused(keep(engine, blobs, four[:20]), "accept") == "unreadable"


def test_the_teams_own_sample_is_left_alone(curator: Curator) -> None:
    content = next(photos())
    identifier = keep(curator.engine, curator.blobs, content)
    with curator.engine.begin() as connection:
        values = {"model": "cats_dogs", "sha256": hashlib.sha256(content).hexdigest(), "label": "dog", "group": "g"}
        connection.execute(insert(t.samples).values(**values, evaluation=False, synthetic=False, source="a.jpg"))
    assert curator.refused(identifier, "accept") == "known-sample"
    assert curator(identifier, "refuse").changed
    assert [(row.label, row.origin) for row in rows(curator.engine)] == [("dog", "team")]


def test_the_same_bytes_from_two_people_are_one_sample_until_both_are_refused(curator: Curator) -> None:
    content = next(photos())
    adas, bobs = (keep(curator.engine, curator.blobs, content, subject=name) for name in (ADA, "visitor:bob"))
    curator(adas, "accept")
    assert curator.refused(bobs, "relabel", "dog") == "labelled-otherwise"
    curator(bobs, "accept")
    assert [row.subject for row in rows(curator.engine)] == [ADA]
    curator(adas, "refuse")
    assert [row.subject for row in rows(curator.engine)] == ["visitor:bob"]
    assert len(kept_samples(curator.root)) == 1
    curator(bobs, "refuse")
    assert (rows(curator.engine), kept_samples(curator.root)) == ([], set())


def test_nothing_of_an_erased_person_becomes_a_sample(curator: Curator) -> None:
    one, two = islice(photos(), 2)
    hers, others = keep(curator.engine, curator.blobs, one), keep(curator.engine, curator.blobs, two, subject="b")
    stone = erasures.bury(curator.engine, hash_of(ADA), "account:eve", access=False)
    assert curator.refused(hers, "accept") == "unknown-input"
    with curator.engine.begin() as connection:
        values = {"model": "cats_dogs", "sha256": hashlib.sha256(two).hexdigest(), "erasure": stone.id}
        connection.execute(insert(t.erased_samples).values(values))
    assert curator.refused(others, "accept") == "erased"


def test_bytes_are_not_put_where_the_row_went_meanwhile(curator: Curator) -> None:
    """A word is taken, and another one undoes it before the first has copied the bytes."""
    identifier = keep(curator.engine, curator.blobs, next(photos()))

    class Killed(FolderBlobs):
        def put(self, folder: str, content: bytes) -> str:  # noqa: ARG002
            raise InterruptedError

    word = Word("accept", "account:eve")
    with pytest.raises(InterruptedError):
        reviews.review(curator.engine, Killed(curator.root), curator.spec, identifier, word, hash_of=hash_of)
    assert (len(rows(curator.engine)), kept_samples(curator.root)) == (1, set())
    kept, content = reviews.look(curator.engine, curator.blobs, "cats_dogs", identifier)
    curator(identifier, "refuse")
    reviews._copy(curator.engine, curator.blobs, kept, content)
    assert kept_samples(curator.root) == set()


def test_many_words_at_once_on_the_same_bytes_make_one_sample(curator: Curator) -> None:
    content = next(photos())
    ids = [keep(curator.engine, curator.blobs, content, subject=f"visitor:{n}") for n in range(6)]
    threads = [threading.Thread(target=curator, args=(identifier, "accept")) for identifier in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rows(curator.engine)) == 1
    with curator.engine.connect() as connection:
        assert connection.execute(select(func.count()).where(t.inputs.c.review == "accepted")).scalar_one() == 6
        assert connection.execute(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")).scalar_one() == 0
