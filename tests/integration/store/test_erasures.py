"""Erasing on a real database: what goes, what stays, and that a kill at any point leaves nothing half done."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event, insert, select, text

from canari import erasure
from canari.blobs import FolderBlobs, inputs_folder, samples_folder
from canari.erasure import Eraser
from canari.errors import CanariError
from canari.ids import new_id
from canari.settings import Layout
from canari.spec_file import load_spec
from canari.store import access, erasures, feedback, inputs, latecomers, predictions, samples, versions
from canari.store import tables as t
from canari.store.inputs import Arrived
from canari.tokens import Scope, Verifier, issue, new_key, public_pem
from canari.tombstones import Tombstones, pseudonym
from canari.training_lock import training_alone
from canari.types import Feedback, Prediction
from tests.conftest import ROOT, Database
from tests.integration.store.samples_of import id_at, prediction

ADA, BOB, CURATOR = "visitor:ada", "account:bob", "account:cora"
PHOTO = bytes(range(256)) * 40
COMMENT = "my cat lives at 12 Marker Street"


@dataclass
class World:
    """A data folder and a database in which ada and bob left something everywhere."""

    database: Database
    eraser: Eraser
    asked: dict[str, Prediction]

    @property
    def engine(self) -> Any:
        return self.database.engine

    @property
    def blobs(self) -> FolderBlobs:
        return FolderBlobs(self.eraser.layout.blobs)

    def count(self, query: str, **values: object) -> int:
        with self.engine.connect() as connection:
            return int(connection.execute(text(query), values).scalar_one())

    def mentions(self, subject: str) -> dict[str, int]:
        """By table, the rows that hold a subject's name."""
        tables = ("predictions", "feedback", "evidence_voters", "inputs", "samples", "tokens", "accounts", "erasures")
        query = "SELECT count(*) FROM {0} AS row WHERE row::text LIKE '%' || :subject || '%'"
        found = {table: self.count(query.format(table), subject=subject) for table in tables}
        return {table: count for table, count in found.items() if count}

    def erase(self, subject: str, **options: Any) -> dict[str, Any]:
        one = self.eraser.begin(subject, "an administrator", **options)
        done = self.eraser.finish(one, [subject])
        assert done is not None
        return dict(done)


@pytest.fixture
def world(swept_database: Database, tmp_path: Path) -> World:
    key = new_key()
    layout = Layout(tmp_path / "data")
    layout.create()
    made = Eraser(swept_database.engine, layout, Tombstones(layout.root), lambda: key)
    spec = load_spec(ROOT / "bentos" / "cats_dogs")
    versions.put_spec(swept_database.engine, spec)
    world = World(swept_database, made, {})
    for number, subject in enumerate((ADA, BOB), 1):
        fill(world, subject, number)
    return world


def fill(world: World, subject: str, seq: int) -> None:
    engine, hash_of = world.engine, world.eraser.tombstones.hash
    row = prediction(seq, subject=subject, id=new_id(), bins=(1, 2))
    world.asked[subject] = row
    predictions.append(engine, "cats_dogs", 1, [row], hash_of=hash_of)
    feedback.put(engine, Feedback(row.id, "cats_dogs", subject, right=False, label="dog", comment=COMMENT))
    arrived = Arrived("cats_dogs", row.id, 1, subject, "image/jpeg", consented=True)
    assert inputs.keep(engine, world.blobs, arrived, PHOTO + subject.encode(), 30, hash_of=hash_of)
    sha256 = world.blobs.put(samples_folder("cats_dogs"), PHOTO + b"sample of " + subject.encode())
    with engine.begin() as connection:
        connection.execute(
            insert(t.samples).values(
                model="cats_dogs", sha256=sha256, label="cat", group=sha256, evaluation=False, synthetic=False,
                source="curated", origin="curated", subject=subject, prediction_id=row.id, labelled_by=CURATOR,
            )
        )  # fmt: skip
    body = {"model": "cats_dogs", "samples": [{"sha256": sha256, "label": "cat"}], "synthetic": False, "skipped": []}
    samples.put_manifest(engine, f"manifest of {subject}", "cats_dogs", body)
    spec = versions.live_specs(engine)["cats_dogs"]
    versions.allot(engine, spec, manifest_digest=f"manifest of {subject}", synthetic=False)


def test_all_that_names_the_person_goes_and_the_counts_and_other_people_stay(world: World) -> None:
    others = world.mentions(BOB)
    certificate = world.erase(ADA, reason="request 7")
    assert world.mentions(ADA) == {}
    assert world.mentions(BOB) == others
    counts = {"inputs": 1, "input_bytes": len(PHOTO) + len(ADA), "samples": 1, "predictions": 1, "feedback": 1}
    assert certificate["counts"] == counts
    assert (certificate["reason"], certificate["requested_by"]) == ("request 7", "an administrator")
    found = predictions.get(world.engine, "cats_dogs", world.asked[ADA].id)
    assert found is not None
    kept, [vote] = found
    was = world.asked[ADA]
    bare = replace(was, subject="erased", request_id=str(was.id), input_sha256=None, bins=None)
    assert kept.prediction == bare
    assert (vote.right, vote.label, vote.comment) == (False, "dog", None)
    files = [path for path in world.eraser.layout.blobs.rglob("*") if path.is_file()]
    assert len(files) == 2
    assert all(path.read_bytes().endswith(BOB.encode()) for path in files)
    assert not (world.eraser.layout.blobs / inputs_folder("cats_dogs", ADA)).exists()


def test_the_certificate_names_the_versions_that_learned_from_it_and_is_signed(world: World) -> None:
    certificate = world.erase(ADA)
    [version] = certificate["trained_on"]
    assert (version["model"], version["version"], version["samples"]) == ("cats_dogs", 1, 1)
    assert "retrain cats_dogs" in version["suggestion"]
    key = world.eraser.key()
    erasure.verify(key.public_key(), json.loads(json.dumps(certificate)))
    assert erasure.is_of(certificate, ADA, world.eraser.tombstones)
    assert not erasure.is_of(certificate, BOB, world.eraser.tombstones)
    for forged in ({**certificate, "counts": {}}, {**certificate, "signature": "no"}, {}):
        with pytest.raises(CanariError):
            erasure.verify(key.public_key(), forged)
    with pytest.raises(CanariError):
        erasure.verify(new_key().public_key(), certificate)
    stored = erasures.read(world.engine, UUID(certificate["erasure"]))
    assert stored is not None
    assert stored.notes == certificate


def test_a_certificate_is_no_bearers_token_and_a_token_no_certificate(world: World) -> None:
    certificate, key = world.erase(ADA), world.eraser.key()
    with pytest.raises(Exception, match="not one of this platform's"):
        Verifier(public_pem(key)).verify(certificate["signature"])
    token, _ = issue(key, subject=ADA, scopes=[Scope.ADMIN], lifetime=timedelta(hours=1))
    with pytest.raises(CanariError):
        erasure.verify(key.public_key(), {**certificate, "signature": token})


def test_a_row_that_arrives_late_stays_out_and_leaves_no_hole_however_often_it_is_sent(world: World) -> None:
    recorder = uuid4()
    spooled = [
        prediction(seq, recorder=recorder, subject=ADA if seq in {2, 3} else BOB, request_id=f"r{seq}")
        for seq in range(1, 5)
    ]
    world.erase(ADA)
    hash_of = world.eraser.tombstones.hash
    for _ in range(2):
        predictions.append(world.engine, "cats_dogs", 1, spooled[:2], hash_of=hash_of)
        predictions.append(world.engine, "cats_dogs", 1, spooled, hash_of=hash_of)
    assert world.mentions(ADA) == {}
    assert predictions.get(world.engine, "cats_dogs", spooled[1].id) is None
    assert predictions.get(world.engine, "cats_dogs", spooled[3].id) is not None
    query = "SELECT received - highest FROM recorders WHERE id = :id"
    assert world.count(query, id=recorder) == 0
    arrived = Arrived("cats_dogs", spooled[2].id, 1, ADA, "image/jpeg", consented=True)
    assert inputs.keep(world.engine, world.blobs, arrived, b"late", 30, hash_of=hash_of) is None
    assert not (world.eraser.layout.blobs / inputs_folder("cats_dogs", ADA)).exists()


def test_who_comes_back_is_kept_again_and_a_second_erasure_takes_that_too(world: World) -> None:
    world.erase(ADA)
    fill_later = prediction(9, subject=ADA, id=new_id(), recorder=uuid4())
    predictions.append(world.engine, "cats_dogs", 1, [fill_later], hash_of=world.eraser.tombstones.hash)
    assert world.mentions(ADA) == {"predictions": 1}
    assert world.erase(ADA)["counts"] == {"predictions": 1}
    assert world.mentions(ADA) == {}


def test_tokens_and_account_stay_unless_it_is_asked_for(world: World) -> None:
    _, identity = issue(world.eraser.key(), subject=BOB, scopes=[Scope.CURATE], lifetime=timedelta(hours=1))
    access.add_token(world.engine, identity, "of bob")
    access.put_account(world.engine, "bob", "long enough", scopes=[Scope.CURATE])
    world.erase(BOB)
    assert world.mentions("bob") == {"tokens": 1, "accounts": 1}
    certificate = world.erase(BOB, access=True)
    assert certificate["counts"] == {"tokens": 1, "accounts": 1}
    assert world.mentions("bob") == {}
    assert access.revoked(world.engine) == [identity.token_id]


def test_one_voter_stays_one_voter_of_the_same_kind(world: World) -> None:
    keys = [{"rollout": 1, "version": 1, "metric": metric} for metric in ("satisfaction", "accuracy")]
    stable = {"model": "cats_dogs", "canary": 1, "weight": 5, "state": "promoted"}
    with world.engine.begin() as connection:
        number = connection.execute(insert(t.rollouts).values(stable).returning(t.rollouts.c.id)).scalar_one()
        for key in keys:
            connection.execute(insert(t.evidence_voters).values(**{**key, "rollout": number}, subject=ADA))
    one = world.eraser.begin(ADA, "an administrator")
    with world.engine.begin() as connection:
        # A killed run got as far as this.
        left = {**keys[0], "rollout": number, "subject": pseudonym(one.id, ADA)}
        connection.execute(insert(t.evidence_voters).values(left))
    world.eraser.finish(one, [ADA])
    with world.engine.connect() as connection:
        found = connection.execute(select(t.evidence_voters.c.metric, t.evidence_voters.c.subject)).all()
    assert sorted(found) == [("accuracy", f"visitor:erased:{one.id}"), ("satisfaction", f"visitor:erased:{one.id}")]


def test_an_input_that_became_a_sample_as_it_is_goes_from_both_places(world: World) -> None:
    photo = PHOTO + ADA.encode()
    sha256 = world.blobs.put(samples_folder("cats_dogs"), photo)
    with world.engine.begin() as connection:
        of_ada = t.samples.c.subject == ADA
        connection.execute(t.samples.update().where(of_ada).values(sha256=sha256))
    assert world.erase(ADA)["counts"]["samples"] == 1
    assert not (world.eraser.layout.blobs / samples_folder("cats_dogs") / sha256).exists()
    assert world.count("SELECT count(*) FROM erased_samples") == 1


def test_what_the_team_has_of_its_own_stays_though_somebody_sent_the_same(world: World) -> None:
    sha256 = world.blobs.put(samples_folder("cats_dogs"), PHOTO + ADA.encode())
    row = {"label": "cat", "group": "g", "evaluation": True, "synthetic": False, "source": "team's"}
    with world.engine.begin() as connection:
        connection.execute(insert(t.samples).values(model="cats_dogs", sha256=sha256, **row))
    world.erase(ADA)
    assert world.count("SELECT count(*) FROM samples WHERE sha256 = :one", one=sha256) == 1
    assert world.count("SELECT count(*) FROM erased_samples WHERE sha256 = :one", one=sha256) == 0
    assert (world.eraser.layout.blobs / samples_folder("cats_dogs") / sha256).exists()


def test_a_curators_name_goes_and_what_they_labelled_stays(world: World) -> None:
    assert world.erase(CURATOR)["counts"] == {"samples": 2}
    assert world.mentions(CURATOR) == {}
    assert world.count("SELECT count(*) FROM samples") == 2


class Killed(BaseException):
    """Stands for SIGKILL: nothing treats it."""


@pytest.mark.parametrize("statement", range(1, 60, 4))
def test_an_erasure_killed_at_any_statement_is_done_by_the_next_run_with_the_same_counts(
    world: World, statement: int
) -> None:
    one = world.eraser.begin(ADA, "an administrator", access=True)
    left = statement

    def kill(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed

    event.listen(world.engine, "before_cursor_execute", kill)
    try:
        world.eraser.finish(one, [ADA])
    except Killed:
        pass
    finally:
        event.remove(world.engine, "before_cursor_execute", kill)
    again = Eraser(world.engine, world.eraser.layout, Tombstones(world.eraser.layout.root), world.eraser.key)
    again.resume()
    assert world.mentions(ADA) == {}
    found = erasures.read(world.engine, one.id)
    assert found is not None
    assert found.done_at is not None
    counts = {"inputs": 1, "input_bytes": len(PHOTO) + len(ADA), "samples": 1, "predictions": 1, "feedback": 1}
    assert found.notes["counts"] == counts
    assert [version["version"] for version in found.notes["trained_on"]] == [1]


def test_a_restored_database_is_told_again_who_was_erased(world: World) -> None:
    certificate = world.erase(ADA)
    with world.engine.begin() as connection:
        connection.execute(text("DELETE FROM erased_samples"))
        connection.execute(text("DELETE FROM erasures"))
    old = prediction(77, subject=ADA, recorder=uuid4(), id=id_at(datetime.now(UTC) - timedelta(hours=1)))
    predictions.append(world.engine, "cats_dogs", 1, [old])
    assert world.mentions(ADA) == {"predictions": 1}
    went = world.eraser.resume()
    assert (went.replayed, went.done, went.still_open) == (1, 1, 0)
    assert world.mentions(ADA) == {}
    assert erasures.read(world.engine, UUID(certificate["erasure"])) is not None
    assert world.eraser.resume().replayed == 0


def test_the_file_learns_of_a_tombstone_whose_process_died_before_it_wrote(world: World) -> None:
    one = erasures.bury(world.engine, world.eraser.tombstones.hash(ADA), "an administrator", access=False)
    assert world.eraser.tombstones.read() == []
    world.eraser.resume()
    assert world.eraser.tombstones.read() == [one]
    assert ADA not in world.eraser.tombstones.file.read_text()


def test_rows_on_their_way_in_are_waited_for_and_later_ones_find_the_tombstone(world: World) -> None:
    hash_of = world.eraser.tombstones.hash
    rows = [prediction(seq, subject=ADA, recorder=uuid4()) for seq in (1, 2)]
    with world.engine.connect() as connection, connection.begin():
        assert latecomers.late(connection, hash_of, [(rows[0].id, ADA)]) == set()
        begun: list[Any] = []
        burying = threading.Thread(target=lambda: begun.append(world.eraser.begin(ADA, "x")))
        burying.start()
        time.sleep(0.3)
        assert begun == []
    burying.join(10)
    assert begun
    with world.engine.connect() as connection, connection.begin():
        assert latecomers.late(connection, hash_of, [(row.id, ADA) for row in rows]) == {row.id for row in rows}


def test_an_erasure_waits_for_a_training_whose_files_hold_its_samples(world: World) -> None:
    training = world.eraser.layout.training
    (training / "cats_dogs" / "run").mkdir(parents=True)
    (training / "cats_dogs" / "run" / "training.npy").write_bytes(PHOTO)
    told: list[str] = []
    one = world.eraser.begin(ADA, "an administrator")
    with training_alone(world.eraser.layout, "cats_dogs") as held:
        assert held
        assert world.eraser.finish(one, [ADA], tell=told.append) is None
    assert "cats_dogs is being trained" in told[-1]
    assert (training / "cats_dogs" / "run" / "training.npy").exists()
    assert world.eraser.resume().done == 1
    assert not (training / "cats_dogs").exists()


@pytest.mark.parametrize("subject", ["", "  ", "erased", "visitor:erased:1", "nul\0"])
def test_what_is_no_subject_is_refused(world: World, subject: str) -> None:
    with pytest.raises(CanariError, match="is no subject"):
        world.eraser.begin(subject, "an administrator")
    assert erasures.newest(world.engine) == []


def test_the_application_may_clear_dead_rows_by_itself(world: World) -> None:
    def file() -> int:
        return world.count("SELECT pg_relation_filenode('feedback')")

    knows_maintain = world.count("SELECT current_setting('server_version_num')::integer") >= 170000
    certificate = world.erase(ADA)
    touched = set(certificate["vacuumed"]) | set(certificate["left_to_autovacuum"])
    assert {"feedback", "inputs", "samples"} < touched
    assert any(table.startswith("predictions_") for table in touched)
    assert certificate["left_to_autovacuum"] == ([] if knows_maintain else sorted(touched))
    owner = replace(world.eraser, owner_url=world.database.owner_url)
    fill(world, ADA, 50)
    before = file()
    one = owner.begin(ADA, "an administrator")
    certificate = dict(owner.finish(one, [ADA], rewrite=True) or {})
    assert certificate["left_to_autovacuum"] == []
    assert file() != before
