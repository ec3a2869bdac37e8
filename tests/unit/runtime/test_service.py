from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from canari.errors import CanariError
from canari.measures import refer
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


def environment(artifact: Path, feedback: FeedbackServer) -> dict[str, str]:
    return {
        "CANARI_TOKEN": token(Scope.RECORD, models=("colours",), version=9),
        "CANARI_PUBLIC_KEY": PUBLIC_KEY.decode(),
        "CANARI_FEEDBACK_URL": feedback.url,
        "CANARI_SPOOL_DIR": str(artifact / "spool"),
    }


def test_on_a_platform_every_answer_arrives_and_revocations_count(artifact: Path, feedback: FeedbackServer) -> None:
    variables = environment(artifact, feedback)
    runtime = Runtime(read_config(artifact, variables), lambda: decode_photo)
    runtime.start()
    answer = Client(runtime).post(PATH, photo(), headers={"x-canari-arm": "1.0.9"}).json()
    runtime.stop()
    assert answer["version"] == 9
    [row] = feedback.rows
    assert (row["id"], row["kind"], row["bins"]) == (answer["prediction_id"], "arm", None)
    assert feedback.authorizations == {f"Bearer {variables['CANARI_TOKEN']}"}
    assert list((artifact / "spool").iterdir()) == []


def test_with_a_reference_each_row_says_where_its_input_lies(artifact: Path, feedback: FeedbackServer) -> None:
    made = refer(photo_spec().input, [np.random.default_rng(0).uniform(0, 255, (50, 8, 8, 3)).astype(np.float32)], {})
    (artifact / "reference.json").write_text(json.dumps(made.document()))
    runtime = Runtime(read_config(artifact, environment(artifact, feedback)), lambda: decode_photo)
    runtime.start()
    client = Client(runtime)
    assert client.post(PATH, photo("black")).status_code == 200
    assert client.post(PATH, b"no photo").status_code == 400
    runtime.stop()
    assert [row["bins"] for row in feedback.rows] == [[0, 0, 0, 0], None]


def test_a_reference_that_does_not_hold_is_named(artifact: Path, feedback: FeedbackServer) -> None:
    (artifact / "reference.json").write_text("{}")
    runtime = Runtime(read_config(artifact, environment(artifact, feedback)), lambda: decode_photo)
    with pytest.raises(CanariError, match="not a reference of inputs"):
        runtime.start()


def test_a_model_that_does_not_fit_its_specification_does_not_start(artifact: Path) -> None:
    (artifact / "spec.json").write_text(json.dumps(photo_spec(labels=["a", "b", "c"]).document()))
    runtime = Runtime(read_config(artifact, {}), lambda: decode_photo)
    with pytest.raises(CanariError, match="expected"):
        runtime.start()
    assert not runtime.ready
