"""Whether a platform works, asked of the real feedback API behind a gateway that answers predictions itself."""

from __future__ import annotations

import json

import httpx

from canari.ids import new_id
from canari.store import predictions
from canari.tokens import Scope
from services.jobs.probe import probe
from tests.integration.services.conftest import Api
from tests.integration.store.samples_of import prediction


class Gateway(httpx.BaseTransport):
    """Makes predictions up and records them; has the page; the rest is the API's."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.pins: list[str | None] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path == "/":
            return httpx.Response(200, html="<h1>Canari</h1>")
        if path.endswith("/predict"):
            self.pins.append(request.headers.get("x-canari-version"))
            made = prediction(len(self.pins), id=new_id(), subject="job:probe")
            predictions.append(self._api.context.engine, path.split("/")[2], 1, [made])
            return httpx.Response(200, json={"prediction_id": str(made.id), "version": 1, "answer": "cat"})
        answer = self._api.client.request(request.method, path, content=request.read(), headers=dict(request.headers))
        return httpx.Response(answer.status_code, content=answer.content, headers=answer.headers)


def run(api: Api, gateway: Gateway) -> tuple[bool, list[str]]:
    told: list[str] = []
    headers = api.token(Scope.ADMIN, subject="job:probe")
    with httpx.Client(transport=gateway, base_url="http://gateway", headers=headers) as asker:
        return probe(asker, told.append), [line.partition(" (")[0] for line in told]


def test_a_platform_that_works_passes_each_check(api: Api) -> None:
    gateway = Gateway(api)
    well, told = run(api, gateway)
    assert well
    assert told == [
        "passed health: ok",
        "passed page: 15 bytes",
        "passed status: 2 models",
        "passed cats_dogs: version 1 answers cat, recorded with its vote",
    ]
    assert gateway.pins == [None, "1"]


def test_each_fault_is_told_and_the_others_are_still_looked_for(api: Api) -> None:
    class Broken(Gateway):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path.endswith("/predict"):
                return httpx.Response(503, content=json.dumps({"detail": "No version is ready yet."}))
            if request.url.path == "/":
                return httpx.Response(200, text="not the page")
            return super().handle_request(request)

    well, told = run(api, Broken(api))
    assert not well
    assert told == [
        "passed health: ok",
        "FAILED page: 200, text/plain; charset=utf-8",
        "passed status: 2 models",
        "FAILED cats_dogs: 503: No version is ready yet.",
    ]
