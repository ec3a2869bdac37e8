from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.unit.runtime.kit import Client, build_app, photo, row_spec

INFER = "/v2/models/border/infer"


@pytest.fixture
def rows(tmp_path: Path) -> Client:
    return Client(build_app(tmp_path, row_spec()))


@pytest.fixture
def photos(tmp_path: Path) -> Client:
    return Client(build_app(tmp_path))


def request(datatype: str = "FP32", shape: object = (2, 2), data: object = ((1, 2), (-1, -2)), **more: Any) -> Any:
    tensor = {"name": "input", "datatype": datatype, "shape": shape, "data": data}
    return {"inputs": [tensor], **more}


def binary(client: Client, document: dict[str, Any], tail: bytes, path: str = INFER) -> httpx.Response:
    head = json.dumps(document).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    return client.post(path, head + tail, headers=headers)


def refused(answer: httpx.Response, status: int = 400) -> str:
    assert answer.status_code == status, answer.text
    document = answer.json()
    assert list(document) == ["error"]
    return str(document["error"])


def test_the_models_metadata_names_its_input_and_outputs(rows: Client) -> None:
    for path in ("/v2/models/border", "/v2/models/border/versions/3"):
        document = rows.get(path).json()
        assert (document["name"], document["versions"]) == ("border", ["3"])
        assert document["inputs"] == [{"name": "input", "datatype": "BYTES", "shape": [-1]}]
        assert [output["name"] for output in document["outputs"]] == ["scores", "label"]
        assert document["parameters"] == {
            "labels": ["below", "above"],
            "tensor": {"datatype": "FP32", "shape": [-1, 2]},
        }


def test_the_model_says_that_it_is_ready(rows: Client) -> None:
    for path in ("/v2/models/border/ready", "/v2/models/border/versions/3/ready"):
        assert rows.get(path).json() == {"name": "border", "ready": True}


@pytest.mark.parametrize(
    "path", ["/v2/models/other", "/v2/models/border/versions/4", "/v2/models/border/versions/4/ready"]
)
def test_other_models_and_versions_are_not_found(rows: Client, path: str) -> None:
    assert "version 3 of 'border'" in refused(rows.get(path), 404)
    refused(rows.post("/v2/models/border/versions/4/infer", json=request()), 404)
    refused(rows.get(INFER), 405)


@pytest.mark.parametrize("path", [INFER, "/v2/models/border/versions/3/infer"])
def test_a_tensor_of_numbers_is_answered_row_by_row(rows: Client, path: str) -> None:
    document = rows.post(path, json=request(id="mine")).json()
    assert (document["model_name"], document["model_version"], document["id"]) == ("border", "3", "mine")
    scores, label = document["outputs"]
    assert (scores["name"], scores["datatype"], scores["shape"]) == ("scores", "FP32", [2, 2])
    assert scores["data"][1] > 0.9
    assert scores["data"][3] < 0.1
    assert label == {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["above", "below"]}
    assert len(set(document["parameters"]["prediction_ids"])) == 2


def test_data_may_be_flat_too_and_an_id_may_be_missing(rows: Client) -> None:
    document = rows.post(INFER, json=request(data=[1, 2, -1, -2])).json()
    assert document["outputs"][1]["data"] == ["above", "below"]
    assert "id" not in document


@pytest.mark.parametrize("shape", [[2], [2, 1]])
def test_rows_may_come_as_texts(rows: Client, shape: list[int]) -> None:
    texts = ['{"x1": 1, "x2": 1}', '{"x1": -1, "x2": -1}']
    data = texts if len(shape) == 1 else [[text] for text in texts]
    answer = rows.post(INFER, json=request("BYTES", shape, data))
    assert answer.json()["outputs"][1]["data"] == ["above", "below"]


def test_texts_may_be_base64_when_they_say_so(rows: Client) -> None:
    body = request("BYTES", [1], [base64.b64encode(b'{"x1": 1, "x2": 1}').decode()])
    body["inputs"][0]["parameters"] = {"content_type": "base64"}
    assert rows.post(INFER, json=body).json()["outputs"][1]["data"] == ["above"]


def test_photos_are_base64_in_json(photos: Client) -> None:
    data = [base64.b64encode(photo(colour)).decode() for colour in ("red", "blue")]
    answer = photos.post("/v2/models/colours/infer", json=request("BYTES", [2], data))
    assert answer.json()["outputs"][1]["data"] == ["red", "blue"]


def test_photos_are_themselves_in_a_binary_tensor(photos: Client) -> None:
    payloads = [photo("red"), photo("blue", kind="PNG")]
    tail = b"".join(struct.pack("<I", len(payload)) + payload for payload in payloads)
    tensor = {"name": "x", "datatype": "BYTES", "shape": [2, 1], "parameters": {"binary_data_size": len(tail)}}
    answer = binary(photos, {"inputs": [tensor]}, tail, "/v2/models/colours/infer")
    assert answer.json()["outputs"][1]["data"] == ["red", "blue"]


def test_binary_outputs_come_when_asked_for_in_the_order_asked_for(rows: Client) -> None:
    numbers = np.array([[1, 2], [-1, -2]], "<f4").tobytes()
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 2], "parameters": {"binary_data_size": len(numbers)}}
    outputs = [{"name": "label", "parameters": {"binary_data": True}}, {"name": "scores"}]
    body = {"inputs": [tensor], "outputs": outputs, "parameters": {"binary_data_output": True}}
    answer = binary(rows, body, numbers)
    length = int(answer.headers["inference-header-content-length"])
    document, tail = json.loads(answer.content[:length]), answer.content[length:]
    assert [output["name"] for output in document["outputs"]] == ["label", "scores"]
    assert [output["parameters"]["binary_data_size"] for output in document["outputs"]] == [18, 16]
    assert tail[:18] == b"\x05\x00\x00\x00above\x05\x00\x00\x00below"
    assert np.frombuffer(tail[18:], "<f4").reshape(2, 2).argmax(axis=1).tolist() == [1, 0]


def test_one_output_alone_may_be_asked_for(rows: Client) -> None:
    document = rows.post(INFER, json=request(outputs=[{"name": "scores"}])).json()
    assert [output["name"] for output in document["outputs"]] == ["scores"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "not JSON"),
        (b"[]", "JSON object"),
        (b"{}", "exactly one tensor"),
        ({"inputs": [1]}, "exactly one tensor"),
        ({"inputs": request()["inputs"] * 2}, "exactly one tensor"),
        (request(shape=None), "whole numbers"),
        (request(shape=[]), "whole numbers"),
        (request(shape=[2, -1]), "whole numbers"),
        (request(shape=[True, 2]), "whole numbers"),
        (request(shape=[5, 2], data=[[0, 0]] * 5), "from 1 to 4"),
        (request(shape=[0, 2], data=[]), "from 1 to 4"),
        (request(shape=[2, 3]), "FP32 of shape ['n', 2]"),
        (request("INT64"), "not INT64"),
        (request("BYTES", [1, 2], ["a", "b"]), "not BYTES"),
        (request(data=[1, 2, 3]), "numbers of an FP32 tensor"),
        (request(data=None), "numbers of an FP32 tensor"),
        (request(data=[["a", "b"], ["c", "d"]]), "numbers of an FP32 tensor"),
        (b'{"inputs": [{"datatype": "FP32", "shape": [1, 2], "data": [NaN, 1]}]}', "not finite"),
        (request("BYTES", [2], ["{}"]), "2 inputs, but there are 1"),
        (request("BYTES", [1], [4]), "list of texts"),
        (request("BYTES", [1], None), 'neither "data"'),
        (request("BYTES", [2], ['{"x1": 1, "x2": 1}', "{}"]), "Input 1: A row is"),
        (request(outputs=[{"name": "logits"}]), "scores, label"),
        (request(outputs="scores"), "scores, label"),
    ],
)
def test_a_wrong_request_is_refused_in_the_protocols_form(rows: Client, body: Any, says: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert says in refused(rows.post(INFER, content))


@pytest.mark.parametrize("tail", [b"\x01", b"\x09\x00\x00\x00abc"])
def test_torn_binary_elements_are_refused(rows: Client, tail: bytes) -> None:
    tensor = {"name": "x", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(tail)}}
    assert "4 bytes" in refused(binary(rows, {"inputs": [tensor]}, tail))


def test_a_binary_size_that_does_not_fit_is_refused(rows: Client) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}
    assert "but 4 bytes follow" in refused(binary(rows, {"inputs": [tensor]}, b"0000"))


@pytest.mark.parametrize("length", ["x", "-1", "99999"])
def test_a_wrong_header_length_is_refused(rows: Client, length: str) -> None:
    answer = rows.post(INFER, b"{}", headers={"Inference-Header-Content-Length": length})
    assert "Inference-Header-Content-Length" in refused(answer)


def test_a_compressed_body_is_refused(rows: Client) -> None:
    assert "gzip" in refused(rows.post(INFER, b"{}", headers={"Content-Encoding": "gzip"}), 415)
