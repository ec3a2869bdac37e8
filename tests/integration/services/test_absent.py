"""What the gateway sends to the feedback API because no version can take it."""

import json
from typing import Any

import pytest

from canari.spec import ModelSpec
from canari.store import rollouts, versions
from canari.traffic import envoy
from canari.types import Split
from tests.integration.services.conftest import Api


def envoys(model: str, pins: tuple[int, ...], path: str) -> dict[str, Any]:
    """What Envoy answers by itself on one machine, to requests of `path` that no version can take."""
    table = envoy.routes([Split(model, shares=(), pins=pins, timeout_seconds=1)])["virtual_hosts"][0]["routes"]
    absent = [route["direct_response"] for route in table if "direct_response" in route]
    found = next(r for r in absent if json.loads(r["body"]["inline_string"])["type"].endswith(path))
    return {"status": found["status"], **json.loads(found["body"]["inline_string"])}


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/api/cats_dogs/predict", {"x-canari-version": "7"}),
        ("/v2/models/cats_dogs/infer", {"x-canari-version": "7"}),
        ("/v2/models/cats_dogs/versions/7", {}),
        ("/v2/models/cats_dogs/versions/7/infer", {}),
    ],
)
def test_a_version_that_does_not_run_is_told_as_envoy_tells_it(
    api: Api, cats_dogs: ModelSpec, path: str, headers: dict[str, str]
) -> None:
    number = versions.allot(api.context.engine, cats_dogs, manifest_digest="n", synthetic=True)
    versions.mark_ready(api.context.engine, "cats_dogs", number, archive="b" * 64, metrics={})
    rollouts.deploy(api.context.engine, "cats_dogs", number, weight=20, actor="a test")
    answer = api.client.post(path, headers=headers).json()
    del answer["request_id"]
    assert answer == envoys("cats_dogs", (1, 2), "no-such-version")


def test_a_version_that_is_wanted_and_not_there_yet_is_not_named_as_running(api: Api) -> None:
    answer = api.client.post("/api/cats_dogs/predict", headers={"x-canari-version": "1"})
    assert answer.status_code == 404
    assert answer.json()["detail"].endswith("those that are: none.")


@pytest.mark.parametrize("path", ["/api/cats_dogs/predict", "/v2/models/cats_dogs/infer", "/v2/models/cats_dogs"])
def test_where_no_version_is_ready_it_says_when_to_come_back(api: Api, path: str) -> None:
    answer = api.client.post(path, content=b"x")
    body = answer.json()
    del body["request_id"]
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert body == envoys("cats_dogs", (), "no-version-ready")


@pytest.mark.parametrize("path", ["/api/birds/predict", "/v2/models/birds/infer", "/v2/models/birds/versions/1"])
def test_a_model_that_is_not_there_is_told_with_those_that_are(api: Api, path: str) -> None:
    answer = api.client.get(path)
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:canari:problem:unknown-model")
    assert "cats_dogs, drift" in answer.json()["detail"]
