import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from fastapi import APIRouter
from fastapi.testclient import TestClient
from pydantic import ValidationError
from sqlalchemy import text

from canari import __version__
from canari.launch.postgres import OWNER, EmbeddedPostgres
from canari.spec import RESERVED_NAMES, ModelSpec
from canari.store import feedback, hours, predictions, rollouts, versions
from canari.store.engine import connect
from canari.tokens import Scope
from canari.types import Feedback
from services.feedback.app import create_app
from services.feedback.context import Cached
from tests.conftest import GivenPostgres
from tests.integration.services.conftest import Api
from tests.integration.store.samples_of import prediction


@contextmanager
def away(postgres: EmbeddedPostgres | GivenPostgres, api: Api) -> Iterator[None]:
    """While it lasts, the server refuses the API's database and has cut every connection to it."""
    admin = connect(postgres.url(OWNER), pool=1)
    name = api.context.engine.url.database
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false'))
        connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :n"), {"n": name}
        )
        try:
            yield
        finally:
            connection.execute(text(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS true'))
    admin.dispose()


def test_the_status_tells_how_each_model_does(api: Api, cats_dogs: ModelSpec) -> None:
    engine = api.context.engine
    versions.allot(engine, cats_dogs, manifest_digest="building", synthetic=False)
    number = versions.allot(engine, cats_dogs, manifest_digest="n", synthetic=False)
    versions.mark_ready(engine, "cats_dogs", number, archive="b" * 64, metrics={})
    rollouts.deploy(engine, "cats_dogs", number, weight=20, actor="a test")
    rows = [prediction(seq) for seq in (1, 2, 5)]
    predictions.append(engine, "cats_dogs", 1, rows)
    feedback.put(engine, Feedback(rows[0].id, "cats_dogs", "ada", right=True, label=None, comment=None))
    hours.sweep(engine)
    status = api.client.get("/api/status").json()
    assert status["version"] == __version__
    cats, drift = status["models"]
    assert cats == {
        "name": "cats_dogs",
        "title": {"fr": "Chats et chiens", "en": "Cats and dogs"},
        "input": "image",
        "stable": 1,
        "canary": {"version": 3, "weight": 20},
        "versions": [
            {"number": 3, "state": "ready", "synthetic": False, "weight": 20},
            {"number": 2, "state": "building", "synthetic": False, "weight": 0},
            {"number": 1, "state": "ready", "synthetic": True, "weight": 80},
        ],
        "last_day": {"predictions": 3, "feedback": 1, "satisfaction": 1.0},
        "lost": 2,
        "evaluation": None,
    }
    assert (drift["name"], drift["stable"], drift["canary"], drift["versions"]) == ("drift", None, None, [])
    assert drift["last_day"] == {"predictions": 0, "feedback": 0, "satisfaction": None}


def test_a_model_tells_what_to_send_and_what_comes_back(api: Api) -> None:
    model = api.client.get("/api/cats_dogs").json()
    assert model["input"]["kind"] == "image"
    assert model["input"]["size"] == [180, 180]
    assert model["labels"][0] == {"label": "cat", "title": {"fr": "Chat", "en": "Cat"}}
    assert model["abstain"]["label"] == "unknown"
    assert model["versions"] == [{"number": 1, "state": "ready", "synthetic": True, "weight": 100}]
    assert api.client.get("/api/birds").status_code == 404


def test_an_operator_reads_the_decisions_that_moved_the_traffic(api: Api) -> None:
    [decision] = api.client.get("/api/cats_dogs/rollouts", headers=api.token(Scope.OPERATE)).json()["decisions"][-1:]
    assert (decision["canary"], decision["action"], decision["actor"]) == (1, "bootstrap", "a test")
    assert api.client.get("/api/cats_dogs/rollouts", headers=api.token(Scope.PREDICT)).status_code == 403


def test_health_and_the_protocols_metadata_answer(api: Api) -> None:
    assert api.client.get("/api/health").json() == {"status": "ok", "database": "ok"}
    assert api.client.get("/v2/health/live").json() == {"live": True}
    assert api.client.get("/v2/health/ready").json() == {"ready": True}
    assert api.client.get("/v2").json()["name"] == "canari"


def test_the_database_status_names_version_schema_and_size(api: Api) -> None:
    found = api.client.get("/api/status/db").json()
    assert found["reachable"] is True
    assert found["schema_revision"] == "0004"
    assert int(found["server_version"].split(".")[0]) >= 15
    assert found["size_bytes"] > 1_000_000


def test_while_the_database_is_away_answers_say_when_to_come_back_and_then_all_works_again(
    postgres: EmbeddedPostgres | GivenPostgres, api: Api
) -> None:
    headers = {"Content-Type": "application/x-ndjson", **api.bento()}
    assert api.client.post("/internal/predictions", headers=headers).status_code == 200
    with away(postgres, api):
        for url in ("/api/health", "/api/cats_dogs", "/v2/health/ready", "/api/status"):
            answer = api.client.get(url)
            assert (answer.status_code, answer.json()["type"]) == (503, "urn:canari:problem:database-away"), url
            assert int(answer.headers["retry-after"]) > 0
        assert api.client.get("/api/status/db").json()["reachable"] is False
        assert api.client.get("/v2/health/live").status_code == 200
        api.context.forget_revocations()
        assert api.client.get("/api/me", headers=api.token(Scope.PREDICT)).status_code == 200
    assert api.client.get("/api/health").status_code == 200
    assert api.client.get("/api/status").status_code == 200


def test_every_answer_has_a_request_id_the_gateways_where_it_gave_one(api: Api) -> None:
    assert api.client.get("/api/health", headers={"x-request-id": "abc-123"}).headers["x-request-id"] == "abc-123"
    made = api.client.get("/api/nothing/here", headers={"x-request-id": "two words"})
    assert made.headers["x-request-id"] != "two words"
    assert made.json()["request_id"] == made.headers["x-request-id"]


@pytest.mark.parametrize(("method", "url", "status"), [("GET", "/nothing", 404), ("PUT", "/api/me", 405)])
def test_what_is_not_there_is_said_as_problem_details(api: Api, method: str, url: str, status: int) -> None:
    answer = api.client.request(method, url)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["status"] == status
    assert url in answer.json()["detail"]


def test_a_fault_of_ours_is_a_plain_500_that_tells_nothing_of_the_inside(api: Api) -> None:
    app = create_app(replace(api.context))
    broken = APIRouter()

    @broken.get("/broken")
    def fail() -> None:
        raise RuntimeError("the secret inside")

    app.include_router(broken)
    with TestClient(app) as client:
        answer = client.get("/broken")
    assert (answer.status_code, answer.json()["type"]) == (500, "urn:canari:problem:internal-error")
    assert "secret" not in answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_requests_are_counted_by_route_and_not_by_path(api: Api) -> None:
    api.client.get("/api/cats_dogs")
    api.client.get("/api/drift")
    api.client.get("/surely/not/there")
    metrics = api.client.get("/metrics").text
    assert (
        'canari_http_requests_total{method="GET",route="/api/{model}",service="feedback",status="200"} 2.0' in metrics
    )
    assert 'route="unmatched"' in metrics
    assert "surely" not in metrics


def test_the_openapi_document_is_whole(api: Api) -> None:
    document = api.client.get("/api/openapi.json").json()
    assert {"/api/{model}/predict", "/api/{model}/feedback", "/api/status", "/v2/models/{model}/infer"} <= set(
        document["paths"]
    )
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation.get("tags"), (method, path)
            assert operation.get("summary"), (method, path)
            for status, response in operation["responses"].items():
                if status >= "400" and path.startswith("/api/"):
                    assert list(response["content"]) == ["application/problem+json"], (method, path, status)
    assert "ProblemDetails" in document["components"]["schemas"]


def test_a_costly_status_is_kept_longer_so_that_asking_often_costs_little() -> None:
    made: list[float] = []

    def slow() -> int:
        time.sleep(0.05)
        made.append(time.monotonic())
        return len(made)

    cached = Cached(slow, seconds=0.01, share=0.05)
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:
        cached.get()
    assert len(made) == 1


def test_no_model_can_be_called_like_a_route_of_the_platform(api: Api, cats_dogs: ModelSpec) -> None:
    paths = api.client.get("/api/openapi.json").json()["paths"]
    own = {path.split("/")[2] for path in paths if path.startswith("/api/") and not path.startswith("/api/{")}
    assert own == RESERVED_NAMES
    with pytest.raises(ValidationError, match="routes of the platform"):
        ModelSpec.model_validate({**cats_dogs.document(), "name": "status"})
