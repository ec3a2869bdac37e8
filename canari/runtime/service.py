"""A serving process's inside: everything started in order and stopped in order, behind one ASGI callable."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx
from loguru import logger

from canari.errors import Problem
from canari.runtime import inputs
from canari.runtime.app import App, Receive, Scope, Send
from canari.runtime.client import connect
from canari.runtime.config import Platform, RuntimeConfig
from canari.runtime.engine import OnnxEngine
from canari.runtime.metrics import Metrics
from canari.runtime.plane import DataPlane, Decode
from canari.runtime.recorder import Recorder
from canari.runtime.revocations import RevocationPoller

if TYPE_CHECKING:
    from canari.runtime.traces import Traces

FLUSH_SECONDS = 5.0


class Runtime:
    """One version of one model, ready to be mounted; `load_decode` is called at the start, not before."""

    def __init__(self, config: RuntimeConfig, load_decode: Callable[[], Decode]) -> None:
        self._config = config
        self._load_decode = load_decode
        self._app: App | None = None
        self._plane: DataPlane | None = None
        self._recorder: Recorder | None = None
        self._keeper: inputs.Keeper | None = None
        self._poller: RevocationPoller | None = None
        self._traces: Traces | None = None

    @property
    def ready(self) -> bool:
        """Whether the model is loaded and has predicted once."""
        return self._app is not None

    def start(self) -> None:
        """Load the model, predict once, begin recording; raises CanariError for a model or setting that is wrong."""
        config = self._config
        spec, version = config.spec, config.version
        metrics = Metrics(spec.name, version)
        engine = OnnxEngine(config.model_file, config.cpus)
        # Without a platform nothing is recorded, and nobody would read the places.
        reference = config.reference() if config.platform else None
        self._plane = DataPlane(spec, engine, self._load_decode(), config.cpus, reference)
        self._plane.warm_up()
        if config.platform:
            assert config.verifier is not None
            platform = config.platform
            client = connect(platform.feedback_url, platform.token)
            self._recorder = Recorder(platform.spool, f"{spec.name}/{version}", client, metrics)
            self._recorder.start()
            self._keeper = self._begin_keeping(platform, client, self._recorder, metrics)
            self._poller = RevocationPoller(config.verifier, client)
            self._poller.start()
        self._traces = _traces(spec.name, version) if config.traces else None
        self._app = App(self._plane, version, metrics, config.verifier, self._recorder, self._traces, self._keeper)
        logger.info("{} version {} is ready, on {} CPUs", spec.name, version, config.cpus)

    def stop(self) -> None:
        """Ship what is recorded, bounded in time; called when no request is in flight."""
        self._app = None
        if self._poller:
            self._poller.stop()
        if self._recorder and not self._recorder.close(FLUSH_SECONDS):
            logger.warning("some predictions wait in the spool for this version's next process")
        if self._keeper and not self._keeper.close(FLUSH_SECONDS):
            logger.warning("some inputs wait beside the spool for this version's next process")
        if self._traces:
            self._traces.close()
        if self._plane:
            self._plane.close()

    def _begin_keeping(
        self, platform: Platform, client: httpx.Client, recorder: Recorder, metrics: Metrics
    ) -> inputs.Keeper | None:
        """What keeps inputs, where the policy has any kept; else what was left of an earlier policy goes."""
        spec, folder = self._config.spec, platform.spool / inputs.FOLDER
        owner = f"{spec.name}/{self._config.version}"
        if spec.retains == "never":
            inputs.discard(folder, owner)
            return None
        keeper = inputs.Keeper(folder, owner, client, metrics, rows=lambda: recorder.pending)
        keeper.start()
        return keeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3; only HTTP is answered."""
        if scope["type"] != "http":
            return
        if self._app is None:
            body = Problem(503, "not-ready", "The model is not loaded yet, or is stopping: try again.").encode()
            headers = [(b"content-type", b"application/problem+json"), (b"retry-after", b"1")]
            await send({"type": "http.response.start", "status": 503, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        await self._app(scope, receive, send)


def _traces(model: str, version: int) -> Traces:
    from canari.runtime.traces import Traces

    return Traces(model, version)
