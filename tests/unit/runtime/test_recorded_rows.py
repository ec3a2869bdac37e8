from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from canari.runtime.client import connect
from canari.runtime.metrics import Metrics
from canari.runtime.recorder import Recorder
from canari.spec import ModelSpec
from canari.tokens import Scope
from tests.unit.runtime.kit import Client, FeedbackServer, build_app, photo, photo_spec, row_spec, token

PATH = "/api/colours/predict"


class Rig:
    """The application with a recorder before a real server."""

    def __init__(self, folder: Path, feedback: FeedbackServer) -> None:
        self._folder = folder
        self._feedback = feedback
        self.recorder = Recorder(folder / "spool", "x/3", connect(feedback.url, "t"), Metrics("x", 3))
        self.recorder.start()

    def client(self, spec: ModelSpec) -> Client:
        return Client(build_app(self._folder, spec, self.recorder))

    def rows(self) -> list[dict[str, object]]:
        assert self.recorder.flush(5)
        return self._feedback.rows


@pytest.fixture
def rig(tmp_path: Path, feedback: FeedbackServer) -> Iterator[Rig]:
    rig = Rig(tmp_path, feedback)
    yield rig
    rig.recorder.close(1)


def test_an_answer_is_recorded_as_it_was_given(rig: Rig) -> None:
    payload = photo("blue")
    headers = {"x-canari-arm": "7.2.3", "x-request-id": "req-9"}
    client = rig.client(photo_spec(abstain={"below": 1.0, "label": "unknown"}))
    answer = client.post(PATH, payload, headers=headers).json()
    [row] = rig.rows()
    assert row["id"] == answer["prediction_id"]
    assert row["subject"] == f"anonymous:{answer['prediction_id']}"
    assert (row["kind"], row["rollout"], row["step"]) == ("arm", 7, 2)
    assert (row["status"], row["reason"], row["request_id"]) == (200, None, "req-9")
    assert row["label"] == answer["answer"]
    assert row["scores"] == {entry["label"]: entry["score"] for entry in answer["labels"]}
    assert row["score"] == answer["labels"][0]["score"]
    assert (row["input_bytes"], row["input_sha256"]) == (len(payload), hashlib.sha256(payload).hexdigest())
    assert isinstance(row["latency_ms"], float)
    assert row["latency_ms"] >= answer["timing_ms"]["total"]


def test_the_digest_is_the_photos_whatever_body_it_came_in(rig: Rig) -> None:
    rig.client(photo_spec()).post(PATH, files={"file": ("a.jpg", photo())})
    assert rig.rows()[0]["input_sha256"] == hashlib.sha256(photo()).hexdigest()


def test_a_token_gives_the_row_its_subject(rig: Rig) -> None:
    headers = {"Authorization": f"Bearer {token(Scope.PREDICT)}"}
    rig.client(photo_spec()).post(PATH, photo(), headers=headers)
    assert rig.rows()[0]["subject"] == "person"


@pytest.mark.parametrize(
    ("headers", "body", "status", "reason"),
    [
        ({}, b"nonsense", 400, "not-an-image"),
        ({"Content-Type": "text/html"}, b"", 415, "unsupported-media-type"),
        ({"Authorization": "Bearer nonsense"}, b"", 401, "unauthorised"),
        ({"Authorization": f"Bearer {token(Scope.FEEDBACK)}"}, b"", 403, "forbidden"),
        ({}, b"0" * 100_001, 413, "body-too-large"),
    ],
)
def test_a_refusal_is_recorded_with_its_reason(
    rig: Rig, headers: dict[str, str], body: bytes, status: int, reason: str
) -> None:
    answer = rig.client(photo_spec()).post(PATH, body, headers=headers)
    assert answer.status_code == status
    [row] = rig.rows()
    assert (row["status"], row["reason"], row["label"], row["scores"]) == (status, reason, None, None)
    assert UUID(str(row["id"])).version == 7


def test_what_is_no_request_to_the_model_is_not_recorded(rig: Rig) -> None:
    client = rig.client(photo_spec())
    for path in ("/api/other/predict", "/metrics", "/v2/models/colours", "/v2/models/colours/ready"):
        client.get(path)
    client.post(PATH, photo())
    assert len(rig.rows()) == 1


def test_each_row_of_an_inference_request_is_a_prediction(rig: Rig) -> None:
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [3, 2], "data": [1, 1, 2, 2, -1, -1]}]}
    answer = rig.client(row_spec()).post("/v2/models/border/infer", json=body).json()
    rows = rig.rows()
    assert [row["id"] for row in rows] == answer["parameters"]["prediction_ids"]
    assert [row["label"] for row in rows] == ["above", "above", "below"]
    assert [row["seq"] for row in rows] == [1, 2, 3]
    assert {row["input_bytes"] for row in rows} == {8}
    assert len({row["input_sha256"] for row in rows}) == 3
    assert len({row["subject"] for row in rows}) == 1


def test_a_refused_inference_request_is_one_row(rig: Rig) -> None:
    assert rig.client(row_spec()).post("/v2/models/border/infer", b"{}").status_code == 400
    [row] = rig.rows()
    assert (row["status"], row["reason"], row["input_bytes"]) == (400, "invalid-inputs", 2)
