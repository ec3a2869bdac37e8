"""The retention job: what may be kept no longer goes, and a dry run says so and changes nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, text

from canari.blobs import FolderBlobs, inputs_folder
from canari.erasure import Eraser
from canari.ids import new_id
from canari.keys import ensure_signing_key
from canari.runtime.inputs import FOLDER
from canari.runtime.spool import Lock, segment
from canari.settings import Layout, Settings
from canari.spec_file import load_spec
from canari.store import erasures, inputs, predictions, versions
from canari.store import tables as t
from canari.store.inputs import Arrived
from canari.tombstones import Tombstones
from services.jobs.retention import forget
from tests.conftest import ROOT, Database
from tests.integration.jobs.conftest import Workshop
from tests.integration.store.samples_of import prediction


class World:
    """A data folder with a key, and cats_dogs whose policy keeps inputs always."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.engine = database.engine
        self.settings = Settings(data_dir=folder)
        self.layout: Layout = self.settings.layout
        self.layout.create()
        ensure_signing_key(self.layout.keys)
        self.blobs = FolderBlobs(self.layout.blobs)
        self.tombstones = Tombstones(self.layout.root)
        self.policy(retain_inputs="always")

    def policy(self, **data: Any) -> None:
        spec = load_spec(ROOT / "bentos" / "cats_dogs")
        versions.put_spec(self.engine, spec.model_copy(update={"data": spec.data.model_copy(update=data)}))

    def keep(self, content: bytes, subject: str = "visitor:1", days: int = 30) -> None:
        arrived = Arrived("cats_dogs", new_id(), 1, subject, "image/jpeg", consented=False)
        inputs.keep(self.engine, self.blobs, arrived, content, days, hash_of=self.tombstones.hash)

    def age(self, days: int) -> None:
        with self.engine.begin() as connection:
            statement = "UPDATE inputs SET created_at = created_at - :age, keep_until = keep_until - :age"
            connection.execute(text(statement), {"age": timedelta(days=days)})
        for path in self.files():
            os.utime(path, (0, 0))

    def files(self) -> list[Path]:
        return [path for path in self.layout.blobs.rglob("*") if path.is_file()]

    def forget(self, *, dry_run: bool = False) -> Mapping[str, Any]:
        return forget(self.engine, self.settings, dry_run=dry_run, report=lambda *_: None)

    def begin_erasure(self, subject: str) -> None:
        key = ensure_signing_key(self.layout.keys)
        Eraser(self.engine, self.layout, self.tombstones, lambda: key).begin(subject, "an administrator")


@pytest.fixture
def world(swept_database: Database, tmp_path: Path) -> World:
    return World(swept_database, tmp_path / "data")


def test_what_is_overdue_goes_and_what_killed_processes_left_of_others(world: World) -> None:
    world.keep(b"old", days=5)
    world.keep(b"newer")
    world.blobs.put(inputs_folder("cats_dogs", "visitor:2"), b"orphan")
    unfinished = world.layout.blobs / inputs_folder("cats_dogs", "visitor:3") / ".half"
    unfinished.parent.mkdir(parents=True)
    unfinished.touch()
    world.age(6)
    would = world.forget(dry_run=True)
    assert (would["inputs_overdue"], would["blobs_without_row"]) == (1, 1)
    assert would["why"] == ["cats_dogs: 1 inputs go, for their time is over"]
    assert len(world.files()) == 4
    did = world.forget()
    assert (did["inputs_deleted"], did["blobs_without_row"]) == (1, 1)
    assert [path.read_bytes() for path in world.files()] == [b"newer"]
    again = world.forget()
    assert (again["inputs_deleted"], again["blobs_without_row"], again["why"]) == (0, 0, [])


@pytest.mark.parametrize(
    ("data", "why", "left"),
    [
        ({"retain_inputs": "never"}, "cats_dogs: 2 inputs go, for the policy keeps inputs never", 0),
        ({"retain_inputs": "consented"}, "cats_dogs: 2 inputs go, for the policy keeps inputs consented", 0),
        (
            {"retain_inputs": "always", "retain_days": 3},
            "cats_dogs: 2 inputs go sooner, for the policy keeps them 3",
            0,
        ),
        ({"retain_inputs": "always", "retain_days": 90}, None, 2),
    ],
)
def test_a_policy_that_keeps_less_is_applied_to_what_is_kept(
    world: World, data: dict[str, Any], why: str | None, left: int
) -> None:
    for content in (b"one", b"two"):
        world.keep(content)
    world.age(6)
    world.policy(**data)
    would = world.forget(dry_run=True)
    assert would["why"][:1] == ([] if why is None else [one for one in would["why"] if one.startswith(why)])
    assert len(world.files()) == 2
    assert world.forget()["inputs_deleted"] == 2 - left
    assert len(world.files()) == left


def test_an_open_erasure_is_done_and_a_restored_database_told_again(world: World) -> None:
    predictions.append(world.engine, "cats_dogs", 1, [prediction(subject="visitor:1")])
    world.begin_erasure("visitor:1")
    assert world.forget(dry_run=True)["erasures_open"] == 1
    did = world.forget()
    assert (did["erasures_done"], did["erasures_open"], did["tombstones_replayed"]) == (1, 0, 0)
    assert predictions.page(world.engine, "cats_dogs", subject="visitor:1") == []
    with world.engine.begin() as connection:
        connection.execute(text("DELETE FROM erasures"))
    predictions.append(world.engine, "cats_dogs", 1, [])
    assert world.forget(dry_run=True)["tombstones_replayed"] == 1
    assert erasures.newest(world.engine) == []
    assert world.forget()["tombstones_replayed"] == 1
    [again] = erasures.newest(world.engine)
    assert again.done_at is not None


def test_spools_that_nobody_adopts_are_gone_after_a_day(world: World) -> None:
    folder = world.layout.spool / "cats_dogs" / "1"
    (folder / FOLDER).mkdir(parents=True)
    dead = new_id()
    lock = Lock.create(folder, dead, "cats_dogs/1")
    lines, waiting = segment(folder, dead, 0), folder / FOLDER / f"cats_dogs-1.{new_id()}.input"
    for path in (lines, waiting):
        path.write_bytes(b"something of a person\n")
    assert (world.forget()["spools_expired"], waiting.exists()) == (0, True)
    for path in (lock.path, lines, waiting):
        os.utime(path, (0, 0))
    assert (world.forget()["spools_expired"], lines.exists()) == (0, True)
    lock.release()
    assert world.forget()["spools_expired"] == 1
    assert [path for path in folder.rglob("*") if path.is_file()] == []


def test_old_jobs_and_tokens_go_but_the_newest_job_of_a_kind(world: World) -> None:
    with world.engine.begin() as connection:
        for number, days in enumerate((200, 150, 100, 10)):
            job = {"kind": "evaluate" if days < 200 else "retrain", "key": f"k{number}", "asked_by": "x", "reason": "y"}
            moment = text(f"now() - interval '{days} days'")
            connection.execute(insert(t.jobs).values(**job, state="done", ended_at=moment))
        for days in (100, 10):
            moment = text(f"now() - interval '{days} days'")
            token = {"id": f"t{days}", "subject": "s", "scopes": [], "models": []}
            connection.execute(insert(t.tokens).values(**token, expires_at=moment))
    would = world.forget(dry_run=True)
    assert (would["old_jobs"], would["old_tokens"]) == (2, 1)
    world.forget()
    with world.engine.connect() as connection:
        assert sorted(connection.execute(text("SELECT key FROM jobs")).scalars()) == ["k0", "k3"]
        assert list(connection.execute(text("SELECT id FROM tokens")).scalars()) == ["t10"]


def test_the_command_says_what_it_would_do_and_does_it(workshop: Workshop) -> None:
    ensure_signing_key(workshop.layout.keys)
    would = json.loads(workshop.run("retention", "--dry-run", "--json").stdout)
    assert would["inputs_overdue"] == 0
    done = workshop.run("retention", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["inputs_deleted"] == 0
