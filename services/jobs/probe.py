"""Whether an installed platform works, asked as its users ask."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx

from canari.errors import CanariError
from canari.remote import checked
from canari.spec import Input
from services.jobs.asking import Patience, Tell, sample_input

_RECORDED_SECONDS = 30.0


def probe(gateway: httpx.Client, tell: Tell) -> bool:
    """Ask for health, page and status, and each model that has a version; tell each outcome; whether all was well."""
    models: list[dict[str, Any]] = []

    def status() -> str:
        models.extend(checked(gateway.get("/api/status"))["models"])
        return f"{len(models)} models"

    outcomes = [
        _passes("health", lambda: str(checked(gateway.get("/api/health"))["status"]), tell),
        _passes("page", lambda: _page(gateway), tell),
        _passes("status", status, tell),
    ]
    outcomes += [
        _passes(found["name"], partial(_model, gateway, found["name"], found["stable"]), tell)
        for found in models
        if found["stable"] is not None
    ]
    return all(outcomes)


def _passes(name: str, check: Callable[[], str], tell: Tell) -> bool:
    started = time.monotonic()
    try:
        said = check()
    except (CanariError, httpx.TransportError, KeyError) as error:
        tell(f"FAILED {name}: {error}")
        return False
    tell(f"passed {name}: {said} ({(time.monotonic() - started) * 1000:.0f} ms)")
    return True


def _page(gateway: httpx.Client) -> str:
    answer = gateway.get("/")
    kind = answer.headers.get("content-type", "")
    if not answer.is_success or not kind.startswith("text/html"):
        raise CanariError(f"{answer.status_code}, {kind or 'no content'}")
    return f"{len(answer.content)} bytes"


def _model(gateway: httpx.Client, model: str, stable: int) -> str:
    """Ask by the split and by version, vote, and look the prediction up.

    The vote is on the prediction that named its version: such a one is no evidence for or against a canary.
    """
    content, kind = sample_input(Input.model_validate(checked(gateway.get(f"/api/{model}"))["input"]))
    route, headers = f"/api/{model}/predict", {"content-type": kind}
    checked(gateway.post(route, content=content, headers=headers))
    pinned = checked(gateway.post(route, content=content, headers=headers | {"x-canari-version": str(stable)}))
    identifier = pinned["prediction_id"]
    checked(gateway.post(f"/api/{model}/feedback", json={"prediction_id": identifier, "right": True}))
    patience = Patience(_RECORDED_SECONDS, lambda _: None)
    found: dict[str, Any] = {}

    def recorded() -> str | None:
        answer = gateway.get(f"/api/{model}/predictions/{identifier}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return "it has not arrived yet"
        found.update(checked(answer))
        return None

    patience.until(f"the prediction {identifier} to be recorded", recorded)
    if found["version"] != stable or not found["feedback"]:
        raise CanariError(f"the prediction {identifier} was recorded of version {found['version']}, or lacks its vote")
    return f"version {stable} answers {pinned['answer']}, recorded with its vote"
