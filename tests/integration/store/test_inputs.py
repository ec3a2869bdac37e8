"""Kept inputs: a row and a blob, or neither."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from canari.blobs import FolderBlobs, inputs_folder
from canari.ids import new_id
from canari.spec import Retention
from canari.spec_file import load_spec
from canari.store import inputs, versions
from canari.store.inputs import Arrived
from canari.tombstones import Tombstones
from tests.conftest import ROOT, Database

ODD = "account:../../Zoë O'Brien\n/etc ✓"


@dataclass
class Kept:
    engine: Any
    blobs: FolderBlobs
    hash_of: Any
    root: Path

    def keep(
        self, content: bytes, subject: str = "visitor:1", days: int = 30, *, consented: bool = True,
        prediction_id: UUID | None = None,
    ) -> bool | None:  # fmt: skip
        arrived = Arrived("cats_dogs", prediction_id or new_id(), 1, subject, "image/jpeg", consented)
        return inputs.keep(self.engine, self.blobs, arrived, content, days, hash_of=self.hash_of)

    def rows(self) -> int:
        with self.engine.connect() as connection:
            return int(connection.execute(text("SELECT count(*) FROM inputs")).scalar_one())

    def files(self) -> list[Path]:
        return [path for path in self.root.rglob("*") if path.is_file()]

    def age(self, days: int) -> None:
        """Have everything be kept since so many days."""
        with self.engine.begin() as connection:
            connection.execute(
                text("UPDATE inputs SET created_at = created_at - :age, keep_until = keep_until - :age"),
                {"age": timedelta(days=days)},
            )


@pytest.fixture
def kept(swept_database: Database, tmp_path: Path) -> Kept:
    versions.put_spec(swept_database.engine, load_spec(ROOT / "bentos" / "cats_dogs"))
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    return Kept(swept_database.engine, FolderBlobs(blobs), Tombstones(tmp_path).hash, blobs)


def test_an_input_is_read_back_with_its_bytes_and_kept_once(kept: Kept) -> None:
    made = new_id()
    assert kept.keep(b"photo", ODD, prediction_id=made) is True
    assert kept.keep(b"photo", ODD, prediction_id=made) is False
    found = inputs.read(kept.engine, "cats_dogs", made)
    assert found is not None
    assert (found.subject, found.bytes, found.review, found.consented) == (ODD, 5, "waiting", True)
    assert abs(found.keep_until - found.created_at - timedelta(days=30)) < timedelta(seconds=1)
    assert kept.blobs.get(found.folder, found.sha256) == b"photo"
    assert inputs.read(kept.engine, "drift", made) is None
    assert all(kept.root in path.resolve().parents for path in kept.files())


def test_the_same_photo_twice_is_one_blob_until_the_last_of_its_rows_goes(kept: Kept) -> None:
    kept.keep(b"photo", days=1)
    kept.keep(b"photo", days=9)
    assert (kept.rows(), len(kept.files())) == (2, 1)
    kept.age(5)
    assert inputs.overdue(kept.engine) == {"cats_dogs": 1}
    assert inputs.delete_overdue(kept.engine, kept.blobs) == 1
    assert (kept.rows(), len(kept.files())) == (1, 1)
    kept.age(5)
    assert inputs.delete_overdue(kept.engine, kept.blobs) == 1
    assert (kept.rows(), kept.files()) == (0, [])
    assert not (kept.root / inputs_folder("cats_dogs", "visitor:1")).exists()


@pytest.mark.parametrize(
    ("policy", "days", "due", "sooner", "left"),
    [
        ("always", 30, 0, 0, 3),
        ("always", 60, 0, 0, 3),
        ("consented", 30, 1, 0, 2),
        ("never", 30, 3, 0, 0),
        ("always", 7, 0, 3, 0),
        ("consented", 20, 1, 2, 2),
    ],
)
def test_a_policy_that_keeps_less_holds_for_what_is_kept(
    kept: Kept, policy: Retention, days: int, due: int, sooner: int, left: int
) -> None:
    for number in range(3):
        kept.keep(b"photo %d" % number, consented=number > 0)
    kept.age(10)
    would = inputs.apply_policy(kept.engine, "cats_dogs", policy, days, dry_run=True)
    assert inputs.overdue(kept.engine) == {}
    assert inputs.apply_policy(kept.engine, "cats_dogs", policy, days, dry_run=False) == would
    assert would == {"due": due, "sooner": sooner}
    inputs.delete_overdue(kept.engine, kept.blobs)
    assert (kept.rows(), len(kept.files())) == (left, left)
    assert inputs.apply_policy(kept.engine, "cats_dogs", policy, days, dry_run=False) == {"due": 0, "sooner": 0}


def test_a_blob_without_a_row_is_found_by_listing_when_it_is_old(kept: Kept) -> None:
    kept.keep(b"kept")
    orphan = kept.blobs.put(inputs_folder("cats_dogs", "visitor:killed"), b"its process was killed before the row")
    now = datetime.now(UTC)
    assert inputs.orphans(kept.engine, kept.blobs, now - timedelta(hours=1)) == []
    found = inputs.orphans(kept.engine, kept.blobs, now + timedelta(seconds=1))
    assert [blob.sha256 for blob in found] == [orphan]
    assert inputs.delete_orphans(kept.engine, kept.blobs, found) == 1
    assert len(kept.files()) == 1


def test_an_orphan_whose_row_came_meanwhile_is_kept(kept: Kept) -> None:
    kept.blobs.put(inputs_folder("cats_dogs", "visitor:1"), b"photo")
    found = inputs.orphans(kept.engine, kept.blobs, datetime.now(UTC) + timedelta(seconds=1))
    assert len(found) == 1
    kept.keep(b"photo")
    assert inputs.delete_orphans(kept.engine, kept.blobs, found) == 0
    assert len(kept.files()) == 1


def test_keeping_and_deleting_the_same_photo_at_once_leaves_no_row_without_its_blob(kept: Kept) -> None:
    stop = threading.Event()

    def send() -> None:
        while not stop.is_set():
            kept.keep(b"the same photo", days=1)

    senders = [threading.Thread(target=send) for _ in range(3)]
    for sender in senders:
        sender.start()
    for _ in range(40):
        with kept.engine.begin() as connection:
            connection.execute(text("UPDATE inputs SET keep_until = now() WHERE random() < 0.9"))
        inputs.delete_overdue(kept.engine, kept.blobs)
    stop.set()
    for sender in senders:
        sender.join()
    assert len(kept.files()) == (1 if kept.rows() else 0)
    kept.keep(b"the same photo")
    assert len(kept.files()) == 1


def test_more_than_one_batch_is_deleted(kept: Kept) -> None:
    made = [
        {"id": new_id(), "sha256": kept.blobs.put(inputs_folder("cats_dogs", "visitor:1"), b"photo %d" % (n % 7))}
        for n in range(1100)
    ]
    with kept.engine.begin() as connection:
        connection.execute(
            text("""
                INSERT INTO inputs
                    (model, prediction_id, version, sha256, subject, media_type, bytes, consented, keep_until)
                VALUES ('cats_dogs', :id, 1, :sha256, 'visitor:1', 'image/jpeg', 7, true, now())
            """),
            made,
        )
    told: list[int] = []
    assert inputs.delete_overdue(kept.engine, kept.blobs, told.append) == 1100
    assert told == [500, 1000, 1100]
    assert kept.files() == []
