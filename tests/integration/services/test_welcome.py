"""What a new platform starts with, taken in by the real feedback API; the cluster, controller and gateway are fakes."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from canari.errors import CanariError
from canari.objects import MODEL, Manifest
from canari.packages import Package
from canari.spec import ModelSpec
from canari.spec_file import load_spec
from canari.store import tables, versions
from canari.tokens import Scope
from services.jobs.asking import Patience
from services.jobs.welcome import welcome
from tests.conftest import ROOT
from tests.integration.bentos import packaged
from tests.integration.services.conftest import Api
from tests.unit.jobs.kit import Clock, FakeKube


class Gateway(httpx.BaseTransport):
    """Answers for models that have a ready version; remembers who was asked what."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.asked: list[tuple[str, str]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        model = request.url.path.split("/")[2]
        self.asked.append((model, request.headers["content-type"]))
        ready = any(v.archive for v in versions.versions(self._api.context.engine, model))
        return httpx.Response(200 if ready else 503, json={"detail": "No version is ready yet."})


@pytest.fixture
def drift(api: Api) -> ModelSpec:
    """A platform that has no model yet."""
    with api.context.engine.begin() as connection:
        for table in reversed(tables.metadata.sorted_tables):
            connection.execute(table.delete())
    return load_spec(ROOT / "bentos" / "drift")


@pytest.fixture
def kube(api: Api) -> FakeKube:
    """A cluster whose controller takes Models in at once."""
    found = FakeKube()

    def take_in(manifest: Manifest) -> None:
        versions.put_spec(api.context.engine, ModelSpec.model_validate(manifest["spec"]))

    found.applied = take_in
    return found


def run(api: Api, kube: FakeKube, packages: list[Package]) -> tuple[list[str], Gateway]:
    told: list[str] = []
    clock = Clock()
    gateway = Gateway(api)
    api.client.headers.update(api.token(Scope.ADMIN))
    with httpx.Client(transport=gateway, base_url="http://gateway") as asker:
        welcome(kube, packages, api.client, asker, Patience(30, told.append, clock, clock.sleep), told.append)
    return told, gateway


def test_an_empty_platform_gets_each_sample_and_is_asked_until_it_answers(
    api: Api, kube: FakeKube, drift: ModelSpec, cats_dogs: ModelSpec, tmp_path: Path
) -> None:
    packages = [packaged(spec, tmp_path / spec.name) for spec in (cats_dogs, drift)]
    told, gateway = run(api, kube, packages)
    for package in packages:
        [version] = versions.versions(api.context.engine, package.model)
        assert (version.archive, version.synthetic, version.spec_hash) == (package.archive, True, package.spec.hash)
    assert kube.objects[MODEL, "cats-dogs"]["metadata"]["labels"]["canari.dev/sample"] == "true"
    assert kube.objects[MODEL, "cats-dogs"]["spec"] == cats_dogs.document()
    assert gateway.asked == [("cats_dogs", "image/png"), ("drift", "application/json")]
    assert told[-1] == "drift answers"


def test_welcoming_again_changes_nothing(api: Api, kube: FakeKube, drift: ModelSpec, tmp_path: Path) -> None:
    package = packaged(drift, tmp_path)
    for _ in range(2):
        run(api, kube, [package])
    assert kube.acts == ["apply Model drift"]
    assert len(versions.versions(api.context.engine, "drift")) == 1


def test_a_model_that_people_made_stays_and_a_sample_that_does_not_fit_it_is_left_out(
    api: Api, kube: FakeKube, drift: ModelSpec, tmp_path: Path
) -> None:
    own = drift.model_copy(update={"labels": ("left", "right"), "label_titles": {}})
    kube.put(MODEL, "drift")
    versions.put_spec(api.context.engine, own)
    told, gateway = run(api, kube, [packaged(drift, tmp_path)])
    assert kube.acts == []
    assert gateway.asked == []
    assert versions.versions(api.context.engine, "drift") == []
    assert "drift gets no sample version: 422: " in told[-1]


def test_a_version_that_people_trained_is_enough(api: Api, kube: FakeKube, drift: ModelSpec, tmp_path: Path) -> None:
    kube.put(MODEL, "drift")
    number = versions.allot(api.context.engine, drift, manifest_digest="m", synthetic=False)
    versions.mark_ready(api.context.engine, "drift", number, archive="f" * 64, metrics={})
    run(api, kube, [packaged(drift, tmp_path)])
    assert [v.archive for v in versions.versions(api.context.engine, "drift")] == ["f" * 64]


def test_where_the_controller_does_not_take_a_model_in_that_is_the_reason(
    api: Api, kube: FakeKube, drift: ModelSpec, tmp_path: Path
) -> None:
    kube.applied = lambda _: None
    with pytest.raises(CanariError, match="the controller to take in drift: 404 There is no model 'drift'"):
        run(api, kube, [packaged(drift, tmp_path)])
