"""Signs of life to a watcher elsewhere, which tells people when they cease: Uptime Kuma, Healthchecks, or any other.

A watcher's address is a secret: whoever has it can pretend that all is well. It is never logged.
"""

from __future__ import annotations

import time
from threading import Thread
from typing import NamedTuple

import httpx
from loguru import logger
from pydantic import SecretStr

_SECONDS = 5.0
_MOST_CHARACTERS = 200


class Call(NamedTuple):
    """A request that tells a watcher: method, address and body."""

    method: str
    url: str
    body: str | None = None


def call(url: str, ok: bool, message: str) -> Call | None:
    """How the watcher at `url` is told; None where its silence has to say that something went wrong.

    Uptime Kuma's push monitors (`/api/push/`) take `status` and `msg`; Healthchecks (hc-ping.com, or a server of one's
    own under `/ping/`) takes a message as the body, and failures under `/fail`. Any other gets a GET when all is well.
    """
    address = httpx.URL(url)
    short = message[:_MOST_CHARACTERS]
    if "/api/push/" in address.path:
        status = {"status": "up" if ok else "down", "msg": short or ("OK" if ok else "failed")}
        return Call("GET", str(address.copy_merge_params(status)))
    if address.host == "hc-ping.com" or "/ping/" in address.path:
        path = address.path.rstrip("/") + ("" if ok else "/fail")
        return Call("POST", str(address.copy_with(path=path)), short)
    return Call("GET", url) if ok else None


def ping(url: SecretStr | None, ok: bool, message: str = "", *, wait_seconds: float = _SECONDS) -> None:
    """Tell the watcher at `url`, if there is one, how it went; never raises, and waits no longer than `wait_seconds`.

    A name server may take longer than any time limit of the request: so the request has a thread of its own.
    """
    if url is None:
        return
    thread = Thread(target=_send, args=(url.get_secret_value(), ok, message), name="heartbeat", daemon=True)
    thread.start()
    thread.join(wait_seconds)


class Pulse:
    """A heartbeat that is due once a minute for as long as all is well; telling it costs the caller no time."""

    def __init__(self, url: SecretStr | None, every_seconds: float = 60.0) -> None:
        self._url = url
        self._every_seconds = every_seconds
        self._due_at = float("-inf")

    def beat(self, message: str = "") -> None:
        """All is well: tell the watcher, unless it was told within the minute."""
        now = time.monotonic()
        if now >= self._due_at:
            self._due_at = now + self._every_seconds
            ping(self._url, True, message, wait_seconds=0)


def _send(url: str, ok: bool, message: str) -> None:
    try:
        told = call(url, ok, message)
        if told is None:
            return
        answer = httpx.request(told.method, told.url, content=told.body, timeout=_SECONDS)
        if not answer.is_success:
            logger.warning("a heartbeat was not taken: {} answered {}", httpx.URL(url).host, answer.status_code)
    # Whatever is wrong with a watcher must not become the platform's fault. Messages may hold the address.
    except Exception as error:  # noqa: BLE001
        logger.warning("a heartbeat did not arrive: {}", type(error).__name__)
