"""How jobs ask a platform: with patience, with a token of their own, and with an input made for the occasion."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from datetime import timedelta

import httpx
from PIL import Image, ImageDraw

from canari.errors import CanariError
from canari.keys import SIGNING_KEY, signing_key
from canari.settings import Settings
from canari.spec import Input, InputKind
from canari.tokens import Scope, issue

_POLL_SECONDS = 1.0
_TOKEN = timedelta(hours=1)
Tell = Callable[[str], object]


class Patience:
    """Waiting for one thing after another, all within `seconds`; `tell` hears what is waited for, and why."""

    def __init__(
        self,
        seconds: float,
        tell: Tell,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._seconds = seconds
        self._deadline = clock() + seconds
        self._tell = tell
        self._clock = clock
        self._sleep = sleep

    def until(self, what: str, lacks: Callable[[], str | None]) -> None:
        """Return once `lacks` finds nothing lacking; raises CanariError with what it last said when time is up."""
        told: str | None = None
        while (why := lacks()) is not None:
            if why != told:
                self._tell(f"waiting for {what}: {why}")
                told = why
            if self._clock() > self._deadline:
                raise CanariError(f"after {self._seconds:.0f} s still waiting for {what}: {why}")
            self._sleep(_POLL_SECONDS)


def client(url: str, settings: Settings, job: str) -> httpx.Client:
    """A client of the platform at `url`, with a token signed for `job` where the platform's key lies here."""
    headers = {}
    if (settings.keys / SIGNING_KEY).exists():
        token, _ = issue(signing_key(settings.keys), subject=f"job:{job}", scopes=[Scope.ADMIN], lifetime=_TOKEN)
        headers["authorization"] = f"Bearer {token}"
    return httpx.Client(base_url=url, headers=headers, timeout=30)


def lacks(asker: httpx.Client, method: str, path: str, content: bytes | None = None, kind: str = "") -> str | None:
    """Why a request has no good answer; None where it has one."""
    try:
        answer = asker.request(method, path, content=content, headers={"content-type": kind} if kind else {})
    except httpx.TransportError as error:
        return f"{asker.base_url} does not answer ({error})"
    if answer.is_success:
        return None
    try:
        said = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        said = answer.text[:200]
    return f"{answer.status_code} {said}".strip()


def sample_input(wanted: Input) -> tuple[bytes, str]:
    """Something a model of this input can be asked, and its content type; raises CanariError for other kinds."""
    if wanted.kind is InputKind.TABULAR:
        return json.dumps(dict.fromkeys(wanted.features, 0.0)).encode(), "application/json"
    if wanted.kind is InputKind.IMAGE and wanted.size is not None:
        height, width = wanted.size
        image = Image.new("RGB", (width, height), (186, 220, 240))
        ImageDraw.Draw(image).ellipse((width // 4, height // 4, width * 3 // 4, height * 3 // 4), fill=(204, 142, 96))
        content = io.BytesIO()
        image.save(content, "PNG")
        return content.getvalue(), "image/png"
    raise CanariError(f"there is no sample of a {wanted.kind} input")
