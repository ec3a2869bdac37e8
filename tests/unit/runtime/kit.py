"""What the runtime's tests share: small real models, specifications, a feedback server and an in-process client."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from canari.runtime import images, rows
from canari.runtime.app import App
from canari.runtime.engine import OnnxEngine
from canari.runtime.inputs import MEDIA_TYPE, Head, Keeper, unpack
from canari.runtime.metrics import Metrics
from canari.runtime.plane import DataPlane, Decode
from canari.runtime.recorder import Recorder
from canari.runtime.traces import Traces
from canari.spec import ModelSpec
from canari.tokens import Scope, Verifier, issue, new_key, public_pem

KEY = new_key()
PUBLIC_KEY = public_pem(KEY)
VERSION = 3


def photo_spec(**changes: Any) -> ModelSpec:
    """A model that tells red photos from blue ones, 8 x 8."""
    document: dict[str, Any] = {
        "name": "colours",
        "title": {"fr": "Couleurs", "en": "Colours"},
        "input": {"kind": "image", "size": [8, 8], "max_bytes": 100_000, "max_pixels": 1_000_000},
        "labels": ["red", "blue"],
        "access": {"anonymous": True},
    }
    return ModelSpec.model_validate({**document, **changes})


def row_spec(**changes: Any) -> ModelSpec:
    """A model of two numbers."""
    document: dict[str, Any] = {
        "name": "border",
        "title": {"fr": "Bord", "en": "Border"},
        "input": {"kind": "tabular", "features": ["x1", "x2"], "max_bytes": 10_000},
        "labels": ["below", "above"],
        "serving": {"batch": 4, "concurrency": 4, "timeout": "10s"},
        "access": {"anonymous": True},
    }
    return ModelSpec.model_validate({**document, **changes})


def write_photo_model(file: Path) -> Path:
    """Softmax of the mean red and the mean blue (0 to 255)."""
    weights = np.array([[0.05, 0], [0, 0], [0, 0.05]], np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    return _write(file, nodes, [8, 8, 3], weights)


def write_embedding_model(file: Path) -> Path:
    """The rows' model, which tells also (-x1, -x2) as what goes into its last layer."""
    write_row_model(file)
    model = onnx.load(file)
    model.graph.node.append(helper.make_node("Neg", ["input"], ["canari_embedding"]))
    model.graph.output.append(helper.make_tensor_value_info("canari_embedding", TensorProto.FLOAT, ["n", 2]))
    onnx.save(model, file)
    return file


def write_row_model(file: Path) -> Path:
    """Softmax of (0, x1 + x2)."""
    nodes = [
        helper.make_node("MatMul", ["input", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    return _write(file, nodes, [2], np.array([[0, 1], [0, 1]], np.float32))


def _write(file: Path, nodes: list[onnx.NodeProto], shape: list[int], weights: NDArray[np.float32]) -> Path:
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", *shape])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(weights, "weights")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), file)
    return file


def decode_photo(payload: bytes, spec: ModelSpec) -> NDArray[np.float32]:
    """As a family's `model.decode`."""
    assert spec.input.size
    return images.decode(payload, spec.input.size, spec.input.max_pixels)


def decode_row(payload: bytes, spec: ModelSpec) -> NDArray[np.float32]:
    """As a family's `model.decode`."""
    return rows.decode(payload, spec.input.features)


def photo(colour: str = "red", size: tuple[int, int] = (32, 24), kind: str = "JPEG", mode: str = "RGB") -> bytes:
    """One colour, (width, height)."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def token(*scopes: Scope, models: tuple[str, ...] = ("*",), version: int | None = None, hours: float = 1) -> str:
    """A signed token of the subject `person`."""
    lifetime = timedelta(hours=hours)
    return issue(KEY, subject="person", scopes=scopes, models=models, lifetime=lifetime, version=version)[0]


class Client:
    """Asks an ASGI application without a network."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def post(self, path: str, content: bytes | str | None = None, **options: Any) -> httpx.Response:
        return self.ask("POST", path, content=content, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.ask("GET", path, **options)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self.ask_many([(method, path, options)]))[0]

    async def ask_many(self, requests: list[tuple[str, str, dict[str, Any]]]) -> list[httpx.Response]:
        """Ask all at once."""
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await asyncio.gather(*[client.request(m, p, **options) for m, p, options in requests])


def build_app(
    folder: Path,
    spec: ModelSpec | None = None,
    recorder: Recorder | None = None,
    decode: Decode | None = None,
    traces: Traces | None = None,
    keeper: Keeper | None = None,
) -> App:
    """The application over a real model, of photos unless `spec` says rows; tokens are verified."""
    spec = spec or photo_spec()
    of_photos = spec.input.kind == "image"
    file = (write_photo_model if of_photos else write_row_model)(folder / "model.onnx")
    engine = OnnxEngine(file, threads=2)
    plane = DataPlane(spec, engine, decode or (decode_photo if of_photos else decode_row), threads=2)
    plane.warm_up()
    return App(plane, VERSION, Metrics(spec.name, VERSION), Verifier(PUBLIC_KEY), recorder, traces, keeper)


class FeedbackServer:
    """A real HTTP server on a Unix socket, with as much of the feedback API as a bento sees."""

    def __init__(self, socket: Path) -> None:
        self.url = f"unix:{socket}"
        self.rows: list[dict[str, Any]] = []
        self.batches: list[int] = []
        self.encodings: list[str | None] = []
        self.authorizations: set[str | None] = set()
        self.status = 200
        self.refused: list[dict[str, Any]] = []
        self.revoked: list[str] = []
        self.inputs: list[tuple[Head, bytes]] = []
        self.input_status = 201
        self.arrived = threading.Condition()
        self._server = _UnixServer(str(socket), _handler_of(self))

    def take(self, lines: bytes) -> None:
        """Keep the rows of a batch."""
        with self.arrived:
            batch = [json.loads(line) for line in lines.splitlines()]
            self.batches.append(len(batch))
            if self.status == 200:
                self.rows += batch
            self.arrived.notify_all()

    def wait_for(self, condition: Callable[[], bool], seconds: float = 10) -> bool:
        """Whether something becomes true of what arrived."""
        with self.arrived:
            return self.arrived.wait_for(condition, seconds)

    @contextmanager
    def running(self) -> Iterator[FeedbackServer]:
        """Answer until the end of the block."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64

    def get_request(self) -> tuple[Any, Any]:
        connection, _ = super().get_request()
        return connection, ("unix", 0)


def _handler_of(feedback: FeedbackServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(200, {"revoked": feedback.revoked})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            feedback.encodings.append(self.headers["Content-Encoding"])
            feedback.authorizations.add(self.headers["Authorization"])
            assert self.path == "/internal/predictions"
            assert self.headers["Content-Type"] == "application/x-ndjson"
            feedback.take(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
            self._answer(feedback.status, {"inserted": 1, "duplicates": 0, "refused": feedback.refused})

        def do_PUT(self) -> None:
            head, content = unpack(self.rfile.read(int(self.headers["Content-Length"])))
            feedback.authorizations.add(self.headers["Authorization"])
            assert self.path == f"/internal/inputs/{head.prediction_id}"
            assert self.headers["Content-Type"] == MEDIA_TYPE
            with feedback.arrived:
                if feedback.input_status < 300:
                    feedback.inputs.append((head, content))
                feedback.arrived.notify_all()
            self._answer(feedback.input_status, {})

        def log_message(self, *_: Any) -> None:
            pass

        def _answer(self, status: int, document: dict[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler
