"""The one BentoML service: it serves any family, named by the template argument `family`.

Nothing goes through BentoML's typed endpoints: the model's routes are a mounted ASGI application.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import cast

import bentoml
from pydantic import BaseModel

from canari.runtime.config import read_config
from canari.runtime.plane import Decode
from canari.runtime.service import Runtime


class Arguments(BaseModel):
    """What a build is told: ``bentoml build --arg family=cats_dogs``."""

    family: str


FAMILY = bentoml.use_arguments(Arguments).family
CONFIG = read_config(Path(__file__).resolve().parent.parent / "artifact", os.environ)
# More places than the application has: it refuses sooner, and better, than BentoML would.
PLACES = CONFIG.workers * (2 * CONFIG.spec.serving.concurrency + 16)
# For `bentoml containerize`: without a distribution's name, no compilers are installed, which nothing here needs.
IMAGE = bentoml.images.Image(base_image="python:3.11-slim-bookworm", distro="")


def _decode() -> Decode:
    return cast("Decode", importlib.import_module(f"bentos.{FAMILY}.model").decode)


runtime = Runtime(CONFIG, _decode)


@bentoml.asgi_app(runtime, path="/")
@bentoml.service(
    name=CONFIG.spec.kubernetes_name,
    image=IMAGE,
    workers=CONFIG.workers,
    traffic={"max_concurrency": PLACES},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
    tracing={"excluded_urls": [".*"]},
)
class Model:
    """One version of one model."""

    def __init__(self) -> None:
        runtime.start()

    def __is_ready__(self) -> bool:
        """For /readyz: the model is loaded and has predicted once."""
        return runtime.ready

    def __is_alive__(self) -> bool:
        """For /livez: the event loop turns, or this would not be asked."""
        return True

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def drain(self) -> None:
        """Ship what is recorded."""
        runtime.stop()
