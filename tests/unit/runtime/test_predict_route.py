from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from canari.ids import moment_of
from canari.runtime.app import App
from canari.spec import ModelSpec
from tests.unit.runtime.kit import VERSION, Client, build_app, decode_row, photo, photo_spec, row_spec

PATH = "/api/colours/predict"
JPEG = {"Content-Type": "image/jpeg"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def photos(tmp_path: Path) -> Client:
    return Client(build_app(tmp_path))


@pytest.fixture
def rows(tmp_path: Path) -> Client:
    return Client(build_app(tmp_path, row_spec()))


def refused(answer: httpx.Response, status: int, code: str) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == f"urn:canari:problem:{code}"
    assert problem["status"] == status
    return str(problem["detail"])


def test_a_photo_is_answered_with_its_labels_best_first(photos: Client) -> None:
    answer = photos.post(PATH, photo("blue"), headers={**JPEG, "x-request-id": "abc-1"})
    assert answer.status_code == 200
    document = answer.json()
    assert UUID(document["prediction_id"]).version == 7
    assert abs(moment_of(UUID(document["prediction_id"])).timestamp() - time.time()) < 5
    assert (document["model"], document["version"], document["answer"]) == ("colours", VERSION, "blue")
    assert [entry["label"] for entry in document["labels"]] == ["blue", "red"]
    scores = [entry["score"] for entry in document["labels"]]
    assert scores[0] > 0.99
    assert sum(scores) == pytest.approx(1, abs=1e-5)
    timing = document["timing_ms"]
    assert 0 < timing["decode"] + timing["inference"] <= timing["total"]
    assert answer.headers["x-canari-version"] == str(VERSION)
    assert answer.headers["x-request-id"] == "abc-1"
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_each_answer_has_a_request_id_even_where_none_or_nonsense_was_sent(photos: Client) -> None:
    for sent in ({}, {"x-request-id": "with space"}, {"x-request-id": "x" * 300}):
        echoed = photos.post(PATH, photo(), headers={**JPEG, **sent}).headers["x-request-id"]
        assert UUID(echoed).version == 7


@pytest.mark.parametrize(
    "options",
    [
        {"content": photo("red"), "headers": {"Content-Type": "application/octet-stream"}},
        {"content": photo("red"), "headers": {"Content-Type": "image/png"}},
        {"content": photo("red")},
        {"files": {"file": ("a.jpg", photo("red"), "image/jpeg")}},
        {"files": {"upload": ("a.jpg", photo("red"), "image/jpeg")}, "data": {"note": "x"}},
        {"files": [("other", photo("blue")), ("file", photo("red"))]},
        {"json": {"image": base64.b64encode(photo("red")).decode()}},
        {"json": {"content": base64.b64encode(photo("red")).decode()}},
        {"json": {"image": "data:image/jpeg;base64," + base64.b64encode(photo("red")).decode()}},
    ],
    ids=["octets", "wrong image type", "no type", "field file", "other field", "file first", "image", "content", "url"],
)
def test_a_photo_may_come_in_any_accepted_body(photos: Client, options: dict[str, object]) -> None:
    answer = photos.ask("POST", PATH, **options)
    assert answer.status_code == 200, answer.text
    assert answer.json()["answer"] == "red"


def test_a_body_of_megabytes_in_a_form_is_read_whole(tmp_path: Path) -> None:
    spec = photo_spec(input={"kind": "image", "size": [8, 8], "max_bytes": 8_000_000, "max_pixels": 2_000_000})
    noise = photo("red", size=(1200, 1000), kind="BMP")
    answer = Client(build_app(tmp_path, spec)).post(PATH, files={"file": ("a.bmp", noise)})
    assert answer.json()["answer"] == "red"


@pytest.mark.parametrize("body", [{"x1": 3, "x2": 4}, {"row": {"x1": 3, "x2": 4}}])
def test_a_row_is_answered(rows: Client, body: dict[str, object]) -> None:
    assert rows.post("/api/border/predict", json=body).json()["answer"] == "above"


def test_a_text_model_takes_plain_text_and_json(tmp_path: Path) -> None:
    spec = row_spec(name="length", input={"kind": "text"})

    def decode(payload: bytes, _: ModelSpec) -> NDArray[np.float32]:
        return np.array([len(payload.decode()), -3.5], np.float32)

    client = Client(build_app(tmp_path, spec, decode=decode))
    for options in ({"content": "été", "headers": {"Content-Type": "text/plain"}}, {"json": {"text": "été"}}):
        assert client.ask("POST", "/api/length/predict", **options).json()["answer"] == "below"
    assert client.post("/api/length/predict", json={"content": "quatre"}).json()["answer"] == "above"


def test_an_unsure_answer_is_the_abstention_but_the_scores_stay(tmp_path: Path) -> None:
    client = Client(build_app(tmp_path, row_spec(abstain={"below": 0.6, "label": "unknown"})))
    unsure = client.post("/api/border/predict", json={"x1": 0.1, "x2": 0}).json()
    assert unsure["answer"] == "unknown"
    assert unsure["labels"][0]["label"] == "above"
    assert client.post("/api/border/predict", json={"x1": 3, "x2": 0}).json()["answer"] == "above"


@pytest.mark.parametrize("kind", ["text/html", "application/x-www-form-urlencoded", "application/vnd.bentoml+pickle"])
def test_a_wrong_content_type_is_refused_with_the_list_of_right_ones(photos: Client, kind: str) -> None:
    detail = refused(photos.post(PATH, photo(), headers={"Content-Type": kind}), 415, "unsupported-media-type")
    assert "image/*, application/octet-stream, multipart/form-data, application/json" in detail


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({"content": b"", "headers": JPEG}, 400, "empty-input"),
        ({"content": b"not a photo", "headers": JPEG}, 400, "not-an-image"),
        ({"content": photo()[:400], "headers": JPEG}, 400, "truncated-image"),
        ({"content": photo(size=(2000, 1000), kind="PNG"), "headers": JPEG}, 413, "too-many-pixels"),
        ({"content": b"0" * 100_001, "headers": JPEG}, 413, "body-too-large"),
        ({"content": b"{", "headers": JSON}, 400, "invalid-json"),
        ({"content": b"[1]", "headers": JSON}, 400, "invalid-json"),
        ({"json": {"image": 4}}, 400, "invalid-json"),
        ({"json": {"image": "%%%"}}, 400, "invalid-base64"),
        ({"json": {"image": "é"}}, 400, "invalid-base64"),
        ({"json": {"image": ""}}, 400, "empty-input"),
        ({"content": b"xx", "headers": {"Content-Type": "multipart/form-data"}}, 400, "invalid-multipart"),
        ({"content": b"xx", "headers": {"Content-Type": "multipart/form-data; boundary=b"}}, 400, "invalid-multipart"),
        ({"files": {"note": (None, "no file")}}, 400, "empty-input"),
    ],
)
def test_bad_input_is_refused_with_a_problem(
    photos: Client, options: dict[str, object], status: int, code: str
) -> None:
    refused(photos.ask("POST", PATH, **options), status, code)


def test_a_streamed_body_over_the_limit_is_refused_before_all_of_it_is_read(tmp_path: Path) -> None:
    app, taken = build_app(tmp_path), []

    async def receive() -> dict[str, object]:
        taken.append(1)
        return {"type": "http.request", "body": b"0" * 60_000, "more_body": True}

    assert asyncio.run(_status(app, receive)) == 413
    assert len(taken) == 2


def test_a_declared_length_over_the_limit_is_refused_before_any_of_it_is_read(tmp_path: Path) -> None:
    async def receive() -> dict[str, object]:
        raise AssertionError

    assert asyncio.run(_status(build_app(tmp_path), receive, [(b"content-length", b"100001")])) == 413


def test_a_body_that_does_not_arrive_is_given_up(tmp_path: Path) -> None:
    async def receive() -> dict[str, object]:
        await asyncio.sleep(30)
        raise AssertionError

    app = build_app(tmp_path, photo_spec(serving={"timeout": "50ms"}))
    assert asyncio.run(_status(app, receive)) == 408


def test_a_client_that_goes_away_is_no_fault_of_the_model(tmp_path: Path) -> None:
    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    assert asyncio.run(_status(build_app(tmp_path), receive)) == 499


async def _status(app: App, receive: object, headers: list[tuple[bytes, bytes]] | None = None) -> int:
    sent: list[dict[str, object]] = []

    async def send(message: object) -> None:
        sent.append(message)  # type: ignore[arg-type]

    scope = {"type": "http", "method": "POST", "path": PATH, "headers": headers or []}
    await app(scope, receive, send)  # type: ignore[arg-type]
    return int(str(sent[0]["status"]))


def test_paths_of_other_models_and_other_versions_are_not_found(photos: Client) -> None:
    detail = refused(photos.post("/api/other/predict", photo()), 404, "not-found")
    assert "version 3 of 'colours'" in detail
    refused(photos.get("/"), 404, "not-found")


def test_a_wrong_method_is_refused_with_the_right_one(photos: Client) -> None:
    answer = photos.get(PATH)
    assert "POST" in refused(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"


def test_a_fault_of_the_model_is_a_500_that_tells_nothing_of_it(tmp_path: Path) -> None:
    def decode(_payload: bytes, _spec: ModelSpec) -> NDArray[np.float32]:
        raise RuntimeError("secret")

    client = Client(build_app(tmp_path, row_spec(name="faulty"), decode=decode))
    detail = refused(client.post("/api/faulty/predict", json={"x1": 1, "x2": 2}), 500, "internal-error")
    assert "secret" not in detail


class Gate:
    """A decode that waits until it is let through."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.threads: set[str] = set()

    def __call__(self, payload: bytes, spec: ModelSpec) -> NDArray[np.float32]:
        self.threads.add(threading.current_thread().name)
        assert self.open.wait(10)
        return decode_row(payload, spec)


def test_over_capacity_is_429_at_once_with_retry_after(tmp_path: Path) -> None:
    gate = Gate()
    client = Client(build_app(tmp_path, row_spec(), decode=gate))
    ask = ("POST", "/api/border/predict", {"json": {"x1": 1, "x2": 2}})

    async def crowd() -> tuple[list[httpx.Response], float, httpx.Response]:
        held = asyncio.gather(*[asyncio.create_task(_one(client, ask)) for _ in range(4)])
        await asyncio.sleep(0.2)
        started = time.perf_counter()
        fifth = await _one(client, ask)
        seconds = time.perf_counter() - started
        gate.open.set()
        return await held, seconds, fifth

    held, seconds, fifth = asyncio.run(crowd())
    assert [answer.status_code for answer in held] == [200] * 4
    refused(fifth, 429, "too-many-requests")
    assert fifth.headers["retry-after"] == "1"
    assert seconds < 0.1
    assert client.post("/api/border/predict", json={"x1": 1, "x2": 2}).status_code == 200


async def _one(client: Client, request: tuple[str, str, dict[str, Any]]) -> httpx.Response:
    return (await client.ask_many([request]))[0]


def test_decoding_never_runs_on_the_event_loop_nor_on_more_threads_than_cpus(tmp_path: Path) -> None:
    gate = Gate()
    gate.open.set()
    client = Client(build_app(tmp_path, row_spec(), decode=gate))
    asyncio.run(client.ask_many([("POST", "/api/border/predict", {"json": {"x1": 1, "x2": 2}})] * 4))
    assert gate.threads <= {"predict_0", "predict_1"}
    assert gate.threads


def test_a_request_that_waited_past_its_time_is_given_up_without_work(tmp_path: Path) -> None:
    gate = Gate()
    client = Client(build_app(tmp_path, row_spec(serving={"timeout": "100ms"}), decode=gate))
    ask = ("POST", "/api/border/predict", {"json": {"x1": 1, "x2": 2}})

    async def crowd() -> list[httpx.Response]:
        held = asyncio.gather(*[asyncio.create_task(_one(client, ask)) for _ in range(3)])
        await asyncio.sleep(0.3)
        gate.open.set()
        return await held

    answers = asyncio.run(crowd())
    assert sorted(answer.status_code for answer in answers) == [200, 200, 503]
    late = next(answer for answer in answers if answer.status_code == 503)
    assert late.headers["retry-after"] == "1"
    refused(late, 503, "overloaded")


def test_the_metrics_count_answers_by_status_and_kind(photos: Client) -> None:
    photos.post(PATH, photo(), headers={"x-canari-arm": "1.0.3"})
    photos.post(PATH, b"", headers={"x-canari-arm": "pin"})
    text = photos.get("/metrics").text
    assert 'canari_requests_total{kind="arm",model="colours",status="200",version="3"} 1.0' in text
    assert 'canari_requests_total{kind="pin",model="colours",status="400",version="3"} 1.0' in text
    assert 'canari_request_seconds_count{kind="arm",model="colours",status="200",version="3"} 1.0' in text
    assert 'canari_inference_seconds_count{model="colours",version="3"} 1.0' in text
    assert 'canari_requests_in_flight{model="colours",version="3"} 0.0' in text


def test_the_score_is_rounded_to_six_decimals(rows: Client) -> None:
    text = rows.post("/api/border/predict", json={"x1": 0.3, "x2": 0}).text
    scores = [entry["score"] for entry in json.loads(text)["labels"]]
    assert all(score == round(score, 6) for score in scores)
