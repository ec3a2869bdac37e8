"""Samples that are sent from elsewhere: looked into, kept once, counted, taken away."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import httpx
import pytest
from PIL import Image
from sqlalchemy import text

from bentos.cats_dogs.data import generate
from canari.remote import RefusedError
from canari.store import samples
from canari.tokens import Scope
from canari.types import Origin
from canari.uploads import send
from tests.integration.services.conftest import Api

PHOTOS = [raw.content for raw in generate(6, seed=3)]
ROUTE = "/api/cats_dogs/samples"


@pytest.fixture
def curator(api: Api) -> dict[str, str]:
    return api.token(Scope.CURATE, subject="ada")


def add(api: Api, curator: dict[str, str], content: bytes = PHOTOS[0], label: str = "cat") -> httpx.Response:
    found: httpx.Response = api.client.post(ROUTE, params={"label": label}, content=content, headers=curator)
    return found


def test_a_sample_is_kept_once_with_its_bytes_its_group_and_its_side(api: Api, curator: dict[str, str]) -> None:
    first, second = add(api, curator), add(api, curator)
    assert (first.status_code, second.status_code) == (201, 200)
    sha256 = hashlib.sha256(PHOTOS[0]).hexdigest()
    assert first.json() == second.json()
    assert first.json()["sha256"] == sha256
    assert first.json()["source"] == "sent by ada"
    assert api.context.blobs.get("samples/cats_dogs", sha256) == PHOTOS[0]
    [kept] = samples.all(api.database.engine, "cats_dogs")
    assert (kept.label, kept.origin, kept.evaluation) == ("cat", Origin.TEAM, first.json()["evaluation"])
    assert kept.group.startswith("phash:")
    assert api.client.get(f"{ROUTE}/{sha256}", headers=curator).json() == first.json()


def test_content_that_is_known_under_another_label_is_refused_with_how_to_move_it(
    api: Api, curator: dict[str, str]
) -> None:
    sha256 = add(api, curator).json()["sha256"]
    refused = add(api, curator, label="dog")
    assert refused.status_code == 409
    assert refused.json()["type"] == "urn:canari:problem:known-under-another-label"
    assert f"DELETE {ROUTE}/{sha256}" in refused.json()["detail"]
    assert api.client.delete(f"{ROUTE}/{sha256}", headers=curator).status_code == 204
    assert api.client.delete(f"{ROUTE}/{sha256}", headers=curator).status_code == 404
    with pytest.raises(KeyError):
        api.context.blobs.get("samples/cats_dogs", sha256)
    assert add(api, curator, label="dog").status_code == 201


@pytest.mark.parametrize(
    ("content", "label", "status", "code"),
    [
        (PHOTOS[0], "fox", 422, "unknown-label"),
        (b"", "cat", 400, "empty-input"),
        (b"no photo", "cat", 400, "not-an-image"),
        (PHOTOS[0][: len(PHOTOS[0]) // 2], "cat", 400, "not-an-image"),
        (b"x" * (10 * 2**20 + 1), "cat", 413, "body-too-large"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(
    api: Api, curator: dict[str, str], content: bytes, label: str, status: int, code: str
) -> None:
    refused = add(api, curator, content, label)
    assert (refused.status_code, refused.json()["type"]) == (status, f"urn:canari:problem:{code}")
    assert samples.all(api.database.engine, "cats_dogs") == []


def test_a_photo_with_too_many_pixels_is_refused_before_it_is_decoded(api: Api, curator: dict[str, str]) -> None:
    huge = io.BytesIO()
    Image.new("1", (8000, 8000)).save(huge, "PNG")
    refused = add(api, curator, huge.getvalue())
    assert (refused.status_code, refused.json()["type"]) == (413, "urn:canari:problem:too-many-pixels")


def test_rows_are_samples_too(api: Api, curator: dict[str, str]) -> None:
    def row(content: bytes) -> int:
        asked = api.client.post("/api/drift/samples", params={"label": "above"}, content=content, headers=curator)
        return int(asked.status_code)

    assert row(json.dumps({"x1": 1, "x2": 2}).encode()) == 201
    assert row(b'{"x1": 1}') == 400


def test_only_curators_add_and_operators_may_look(api: Api) -> None:
    assert add(api, {}).status_code == 401
    operator = api.token(Scope.OPERATE)
    assert add(api, operator).status_code == 403
    assert api.client.get(ROUTE, headers=operator).status_code == 200
    assert api.client.get("/api/cats_dogs/new-images", headers=operator).status_code == 200
    assert api.client.get(ROUTE, headers=api.token(Scope.FEEDBACK)).status_code == 403
    assert add(api, api.token(Scope.CURATE, models=("drift",))).status_code == 403


def test_what_was_erased_is_not_taken_in_again(api: Api, curator: dict[str, str]) -> None:
    erase = """
        WITH one AS (
            INSERT INTO erasures (id, subject_hash, erased_before, requested_by)
            VALUES (gen_random_uuid(), 'h', now(), 'ada') RETURNING id
        ) INSERT INTO erased_samples (model, sha256, erasure) SELECT 'cats_dogs', :sha256, id FROM one
    """
    with api.database.engine.begin() as connection:
        connection.execute(text(erase), {"sha256": hashlib.sha256(PHOTOS[0]).hexdigest()})
    refused = add(api, curator)
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:canari:problem:erased")


def test_samples_are_counted_and_so_are_those_that_stable_does_not_know(api: Api, curator: dict[str, str]) -> None:
    for content in PHOTOS[:4]:
        add(api, curator, content)
    known = hashlib.sha256(PHOTOS[0]).hexdigest()
    samples.put_manifest(api.database.engine, "m", "cats_dogs", {"model": "cats_dogs", "samples": [{"sha256": known}]})
    counted = api.client.get(ROUTE, headers=curator).json()
    assert (counted["labels"], counted["total"]) == (["cat", "dog"], 4)
    assert sum(one["count"] for one in counted["counts"]) == 4
    new = api.client.get("/api/cats_dogs/new-images", headers=curator).json()
    assert (new["stable"], new["new"], new["threshold"]) == (1, 3, 500)
    assert new["newest"] is not None
    none = api.client.get("/api/drift/new-images", headers=curator).json()
    assert none == {"stable": None, "new": 0, "threshold": None, "newest": None}


def test_a_sample_that_was_generated_or_accepted_becomes_the_teams_when_the_team_adds_it(
    api: Api, curator: dict[str, str]
) -> None:
    sha256 = add(api, curator).json()["sha256"]
    for change in ("synthetic = true", "origin = 'curated'"):
        with api.database.engine.begin() as connection:
            connection.execute(text(f"UPDATE samples SET {change}"))
        assert add(api, curator).status_code == 201
        kept = samples.find(api.database.engine, "cats_dogs", sha256)
        assert kept is not None
        assert (kept.synthetic, kept.sample.origin) == (False, Origin.TEAM)


def folder_of_photos(folder: Path) -> Path:
    for number, content in enumerate(PHOTOS):
        file = folder / ("cat", "dog")[number % 2] / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    (folder / "cat" / "notes.txt").write_text("no cat")
    (folder / "fox").mkdir()
    return folder


def test_a_folder_is_sent_and_sending_it_again_goes_on_where_it_stopped(
    api: Api, curator: dict[str, str], tmp_path: Path
) -> None:
    folder = folder_of_photos(tmp_path / "photos")
    add(api, curator, PHOTOS[0])
    api.client.headers.update(curator)
    steps: list[tuple[int, int]] = []
    sent = send(api.client, "cats_dogs", folder, lambda *step: steps.append(step))
    assert (sent.sent, sent.known) == (5, 1)
    refused = dict(sent.refused)
    assert refused["fox"] == "not in a label's folder; the labels are cat, dog"
    assert refused["cat/notes.txt"].startswith("400: The bytes are not a whole photo")
    assert steps == [(number, 7) for number in range(1, 8)]
    again = send(api.client, "cats_dogs", folder)
    assert (again.sent, again.known, len(again.refused)) == (0, 6, 2)
    kept = {one.source: one.label for one in samples.all(api.database.engine, "cats_dogs")}
    assert kept["dog/1.jpg"] == "dog"


def test_whoever_may_not_send_is_told_once(api: Api, tmp_path: Path) -> None:
    api.client.headers.update(api.token(Scope.OPERATE))
    with pytest.raises(RefusedError, match="403"):
        send(api.client, "cats_dogs", folder_of_photos(tmp_path / "photos"))
