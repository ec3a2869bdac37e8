from itertools import islice
from pathlib import Path

import pytest
from sqlalchemy import func, text

from canari.blobs import FolderBlobs
from canari.spec_file import load_spec
from canari.store import feedback, queue, versions
from canari.types import Feedback, Review
from tests.conftest import ROOT, Database
from tests.integration.store.queue_of import keep, photos


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path)


def test_what_somebody_called_wrong_comes_first_then_the_least_certain(
    swept_database: Database, blobs: FolderBlobs
) -> None:
    engine = swept_database.engine
    scores = {"sure": 0.99, "torn": 0.52, "wrong but sure": 0.97, "wrong": 0.6, "called right": 0.7}
    ids = {
        name: keep(engine, blobs, content, score=score)
        for (name, score), content in zip(scores.items(), photos(), strict=False)
    }
    ids["unanswered"] = keep(engine, blobs, b"unanswered", answered=False)
    for name, right in (("wrong but sure", False), ("wrong", False), ("called right", True)):
        feedback.put(engine, Feedback(ids[name], "cats_dogs", "visitor:bob", right, None, "look again"))
    order = ["wrong", "wrong but sure", "unanswered", "torn", "called right", "sure"]
    names = {identifier: name for name, identifier in ids.items()}
    found = queue.page(engine, "cats_dogs")
    assert [names[one.input.prediction_id] for one in found] == order
    assert [(vote.right, vote.comment) for vote in found[0].votes] == [(False, "look again")]
    assert (found[0].answer, found[0].scores) == ("cat", {"cat": 0.75, "dog": 0.25})
    assert (found[2].answer, found[2].score, found[2].scores) == (None, None, {})
    paged, after = [], None
    while part := queue.page(engine, "cats_dogs", after=after, limit=2):
        paged += [names[one.input.prediction_id] for one in part]
        after = part[-1].place
    assert paged == order


def test_only_what_its_sender_agreed_to_and_only_while_it_may_be_kept(
    swept_database: Database, blobs: FolderBlobs
) -> None:
    engine = swept_database.engine
    one, two, three, four = islice(photos(), 4)
    waits = keep(engine, blobs, one)
    keep(engine, blobs, two, consented=False)
    keep(engine, blobs, three, keep_until=func.now())
    keep(engine, blobs, four, model="others")
    assert [found.input.prediction_id for found in queue.page(engine, "cats_dogs")] == [waits]
    assert queue.counts(engine, "cats_dogs").states[Review.WAITING] == 1


def test_counts_tell_which_label_lacks_samples(swept_database: Database, blobs: FolderBlobs) -> None:
    engine = swept_database.engine
    versions.put_spec(engine, load_spec(ROOT / "bentos" / "cats_dogs"))
    for place, content in zip(range(4), photos(), strict=False):
        label, review = ("dog", "waiting") if place else ("cat", "refused")
        keep(engine, blobs, content, label=label, review=review)
    with engine.begin() as connection:
        connection.execute(
            text("""
                INSERT INTO samples (model, sha256, label, "group", evaluation, synthetic, source, origin)
                VALUES ('cats_dogs', '1', 'cat', 'a', false, false, '', 'team'),
                       ('cats_dogs', '2', 'cat', 'b', true, false, '', 'team'),
                       ('cats_dogs', '3', 'cat', 'c', false, true, '', 'team'),
                       ('cats_dogs', '4', 'cat', 'd', false, false, '', 'curated')
            """)
        )
    found = queue.counts(engine, "cats_dogs")
    assert dict(found.states) == {
        Review.WAITING: 3, Review.ACCEPTED: 0, Review.RELABELLED: 0, Review.REFUSED: 1,
    }  # fmt: skip
    assert (found.waiting, found.samples) == ({"dog": 3}, {"cat": 2})


def test_an_answer_that_was_not_certain_enough_stands_for_the_best_label() -> None:
    labels = ("cat", "dog")
    assert queue.guess(labels, "dog", {"cat": 0.4, "dog": 0.6}) == "dog"
    assert queue.guess(labels, "unknown", {"cat": 0.4, "dog": 0.6}) == "dog"
    assert queue.guess(labels, "fox", {"fox": 1.0}) is None
    assert queue.guess(labels, None, None) is None
