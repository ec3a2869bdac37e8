from __future__ import annotations

import json
from pathlib import Path

import pytest

from canari.errors import CanariError
from canari.runtime.config import read_config
from canari.runtime.service import Runtime
from canari.tokens import Scope
from tests.unit.runtime.kit import (
    PUBLIC_KEY,
    Client,
    FeedbackServer,
    decode_photo,
    photo,
    photo_spec,
    token,
    write_photo_model,
)

PATH = "/api/colours/predict"


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    (tmp_path / "spec.json").write_text(json.dumps(photo_spec().document()))
    write_photo_model(tmp_path / "model.onnx")
    return tmp_path


def test_nothing_is_answered_before_the_model_is_ready_nor_after_the_stop(artifact: Path) -> None:
    runtime = Runtime(read_config(artifact, {}), lambda: decode_photo)
    client = Client(runtime)
    assert not runtime.ready
    assert client.post(PATH, photo()).status_code == 503
    runtime.start()
    assert runtime.ready
    assert client.post(PATH, photo()).json()["version"] == 0
    runtime.stop()
    assert not runtime.ready
    assert client.post(PATH, photo()).headers["retry-after"] == "1"


def test_on_a_platform_every_answer_arrives_and_revocations_count(artifact: Path, feedback: FeedbackServer) -> None:
    environment = {
        "CANARI_TOKEN": token(Scope.RECORD, models=("colours",), version=9),
        "CANARI_PUBLIC_KEY": PUBLIC_KEY.decode(),
        "CANARI_FEEDBACK_URL": feedback.url,
        "CANARI_SPOOL_DIR": str(artifact / "spool"),
    }
    runtime = Runtime(read_config(artifact, environment), lambda: decode_photo)
    runtime.start()
    answer = Client(runtime).post(PATH, photo(), headers={"x-canari-arm": "1.0.9"}).json()
    runtime.stop()
    assert answer["version"] == 9
    [row] = feedback.rows
    assert (row["id"], row["kind"]) == (answer["prediction_id"], "arm")
    assert feedback.authorizations == {f"Bearer {environment['CANARI_TOKEN']}"}
    assert list((artifact / "spool").iterdir()) == []


def test_a_model_that_does_not_fit_its_specification_does_not_start(artifact: Path) -> None:
    (artifact / "spec.json").write_text(json.dumps(photo_spec(labels=["a", "b", "c"]).document()))
    runtime = Runtime(read_config(artifact, {}), lambda: decode_photo)
    with pytest.raises(CanariError, match="expected"):
        runtime.start()
    assert not runtime.ready
