import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from canari.archives import ArchivesAwayError, FolderArchives, Stored
from canari.measures import refer
from canari.spec import ModelSpec
from canari.store import references, tables, versions
from canari.tokens import Scope
from canari.types import VersionState, manifest_digest
from services.feedback.app import create_app
from tests.integration.bentos import archived
from tests.integration.services.conftest import Api

MANIFEST = {"model": "cats_dogs", "synthetic": True, "samples": [{"sha256": "a" * 64, "label": "cat"}], "skipped": []}


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def put(api: Api, content: bytes, *, model: str = "cats_dogs", sha256: str | None = None) -> httpx.Response:
    answer: httpx.Response = api.client.put(
        f"/api/{model}/archives/{sha256 or digest(content)}", content=content, headers=api.token(Scope.OPERATE)
    )
    return answer


def add(api: Api, archive: str, model: str = "cats_dogs", **more: Any) -> httpx.Response:
    body = {"archive": archive, "metrics": {"accuracy": 0.9}, **more}
    answer: httpx.Response = api.client.post(f"/api/{model}/versions", json=body, headers=api.token(Scope.OPERATE))
    return answer


def test_a_pushed_version_gets_the_next_number_once_and_its_archive_is_handed_to_bentos(
    api: Api, cats_dogs: ModelSpec, tmp_path: Path
) -> None:
    older = cats_dogs.model_copy(update={"abstain": None, "label_titles": {}})
    content = archived(older, tmp_path).read_bytes()
    assert [put(api, content).status_code for _ in range(2)] == [201, 200]
    sent = put(api, content).json()
    assert sent == {"sha256": digest(content), "bytes": len(content)}
    answers = [add(api, digest(content), manifest=MANIFEST, spec_hash=older.hash) for _ in range(2)]
    assert [(a.status_code, a.json()) for a in answers] == [(201, {"number": 2}), (200, {"number": 2})]
    version = versions.version(api.context.engine, "cats_dogs", 2)
    assert (version.state, version.archive, version.metrics) == (VersionState.READY, digest(content), {"accuracy": 0.9})
    assert version.spec_hash == older.hash
    assert versions.built_spec(api.context.engine, "cats_dogs", 2) == older
    assert versions.manifest(api.context.engine, "cats_dogs", 2) == MANIFEST
    assert versions.live_specs(api.context.engine)["cats_dogs"] == cats_dogs
    fetched = api.client.get(f"/internal/bentos/{digest(content)}", headers=api.bento(version=2))
    assert (fetched.content, fetched.headers["content-length"]) == (content, str(len(content)))


def test_where_a_pushed_versions_inputs_lie_is_kept_with_it(api: Api, cats_dogs: ModelSpec, tmp_path: Path) -> None:
    photos = np.random.default_rng(0).uniform(0, 255, (60, 9, 9, 3)).astype(np.float32)
    reference = refer(cats_dogs.input, [photos], {"cat": 5, "dog": 7})
    content = archived(cats_dogs, tmp_path, reference=reference.document()).read_bytes()
    put(api, content)
    assert [add(api, digest(content)).json() for _ in range(2)] == [{"number": 2}] * 2
    assert references.read(api.context.engine, "cats_dogs", 2) == reference
    assert references.read(api.context.engine, "cats_dogs", 1) is None
    refused = put(api, archived(cats_dogs, tmp_path / "other", reference={"view": "dreams"}).read_bytes())
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:canari:problem:not-a-bento")
    assert "not a reference of inputs" in refused.json()["detail"]


def test_another_archive_is_another_version_which_the_list_shows_with_how_good_it_is(
    api: Api, cats_dogs: ModelSpec, tmp_path: Path
) -> None:
    for number in (2, 3):
        content = archived(cats_dogs, tmp_path, b"%d" % number).read_bytes()
        put(api, content)
        assert add(api, digest(content)).json() == {"number": number}
    listed = api.client.get("/api/cats_dogs/versions", headers=api.token(Scope.OPERATE)).json()["versions"]
    assert [(v["number"], v["weight"], v["metrics"]) for v in listed] == [
        (3, 0, {"accuracy": 0.9}),
        (2, 0, {"accuracy": 0.9}),
        (1, 100, {}),
    ]
    assert listed[0]["archive"] == digest(content)


def test_what_arrives_must_be_what_was_announced_and_leaves_nothing_behind(
    api: Api, cats_dogs: ModelSpec, tmp_path: Path
) -> None:
    content = archived(cats_dogs, tmp_path / "bento").read_bytes()
    refused = put(api, content, sha256="b" * 64)
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:canari:problem:digest-mismatch")
    assert refused.json()["sha256"] == digest(content)
    assert list(api.context.archives.staging.iterdir()) == []
    assert add(api, digest(content)).json()["type"] == "urn:canari:problem:unknown-archive"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"labels": ("cat", "dog", "bird")}, 'labels: it is ["cat", "dog", "bird"] in the bento and ["cat", "dog"]'),
        ({"name": "felines"}, 'name: it is "felines" in the bento'),
        ({"input": {"kind": "image", "size": (90, 90)}}, "input.size: it is [90, 90] in the bento and [180, 180] here"),
    ],
)
def test_a_bento_of_another_specification_is_refused_with_what_differs(
    api: Api, cats_dogs: ModelSpec, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    other = ModelSpec.model_validate({**cats_dogs.document(), "label_titles": {}, **change})
    refused = put(api, archived(other, tmp_path / "other").read_bytes())
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:canari:problem:spec-differs")
    assert told in refused.json()["detail"]
    assert [error["field"].partition(".")[0] for error in refused.json()["errors"]] == list(change)


def test_a_bento_that_no_longer_fits_when_it_is_to_get_its_number_is_refused(
    api: Api, cats_dogs: ModelSpec, tmp_path: Path
) -> None:
    content = archived(cats_dogs, tmp_path / "bento").read_bytes()
    put(api, content)
    changed = cats_dogs.model_copy(update={"labels": ("cat", "dog", "bird")})
    versions.put_spec(api.context.engine, changed)
    assert add(api, digest(content)).json()["type"] == "urn:canari:problem:spec-differs"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"no archive at all", "not an archive of a bento (.tar.gz)"),
        (gzip.compress(b"no tar", mtime=0), "not an archive of a bento (.tar.gz)"),
        (b"", "not an archive of a bento (.tar.gz)"),
    ],
)
def test_what_is_no_bento_is_refused(api: Api, content: bytes, told: str) -> None:
    refused = put(api, content)
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:canari:problem:not-a-bento")
    assert told in refused.json()["detail"]


def test_an_archive_over_the_limit_is_refused_whether_its_length_was_declared_or_not(api: Api, tmp_path: Path) -> None:
    context = replace(api.context, archives=FolderArchives(tmp_path / "few"), archive_max_bytes=1000)
    url, headers = f"/api/cats_dogs/archives/{digest(bytes(2000))}", api.token(Scope.OPERATE)

    def blocks() -> Iterator[bytes]:
        yield from (bytes(500) for _ in range(4))

    with TestClient(create_app(context)) as client:
        for content in (bytes(2000), blocks()):
            refused = client.put(url, content=content, headers=headers)
            assert (refused.status_code, refused.json()["type"]) == (413, "urn:canari:problem:body-too-large")
    assert not any((tmp_path / "few").glob("*"))


def test_only_an_operator_of_the_model_may_push(api: Api, cats_dogs: ModelSpec, tmp_path: Path) -> None:
    content = archived(cats_dogs, tmp_path / "bento").read_bytes()
    url = f"/api/cats_dogs/archives/{digest(content)}"
    assert api.client.put(url, content=content).status_code == 401
    for token in (api.token(Scope.PREDICT), api.token(Scope.OPERATE, models=("drift",)), api.bento()):
        assert api.client.put(url, content=content, headers=token).status_code == 403
        assert api.client.get("/api/cats_dogs/versions", headers=token).status_code == 403
    assert put(api, content, model="birds").status_code == 404


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"manifest": {"model": "drift", "samples": []}}, "The manifest must hold"),
        ({"spec_hash": "c" * 64}, "was built with the specification"),
        ({"metrics": {"note": "nul \0"}}, "cannot hold the metrics"),
        ({"archive": "short"}, "body.archive"),
    ],
)
def test_a_version_that_does_not_hold_together_is_refused(
    api: Api, cats_dogs: ModelSpec, tmp_path: Path, body: dict[str, Any], told: str
) -> None:
    content = archived(cats_dogs, tmp_path / "bento").read_bytes()
    put(api, content)
    sent = {"archive": digest(content), **body}
    refused = api.client.post("/api/cats_dogs/versions", json=sent, headers=api.token(Scope.OPERATE))
    assert refused.status_code == 422
    assert told in refused.json()["detail"]
    assert [v.number for v in versions.versions(api.context.engine, "cats_dogs")] == [1]


def test_a_manifest_is_kept_by_its_content(api: Api, cats_dogs: ModelSpec, tmp_path: Path) -> None:
    content = archived(cats_dogs, tmp_path / "bento").read_bytes()
    put(api, content)
    add(api, digest(content), manifest=MANIFEST)
    with api.context.engine.connect() as connection:
        assert list(connection.execute(select(tables.manifests.c.digest)).scalars()) == [manifest_digest(MANIFEST)]


class Away(FolderArchives):
    def has(self, _sha256: str) -> bool:
        raise ArchivesAwayError("the bucket is away")

    def open(self, _sha256: str) -> Stored:
        raise ArchivesAwayError("the bucket is away")


def test_while_the_bucket_is_away_answers_say_when_to_come_back(api: Api, cats_dogs: ModelSpec, tmp_path: Path) -> None:
    content = archived(cats_dogs, tmp_path / "bento").read_bytes()
    context = replace(api.context, archives=Away(tmp_path))
    headers = api.token(Scope.OPERATE)
    with TestClient(create_app(context)) as client:
        answers = [
            client.put(f"/api/cats_dogs/archives/{digest(content)}", content=content, headers=headers),
            client.post("/api/cats_dogs/versions", json={"archive": digest(content)}, headers=headers),
            client.get(f"/internal/bentos/{digest(content)}", headers=api.bento()),
        ]
    assert [(a.status_code, a.json()["type"]) for a in answers] == [(503, "urn:canari:problem:archives-away")] * 3
    assert all(int(a.headers["retry-after"]) > 0 for a in answers)
