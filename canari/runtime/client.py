"""The small HTTP contract a bento has with the platform: a client bound to the bento's own token."""

from __future__ import annotations

import httpx

PREDICTIONS = "/internal/predictions"
REVOCATIONS = "/internal/revocations"
INPUTS = "/internal/inputs"


def connect(url: str, token: str, timeout_seconds: float = 10) -> httpx.Client:
    """A client of the feedback API at ``unix:/path/to.sock`` or ``http://host:port``."""
    headers = {"Authorization": f"Bearer {token}"}
    if url.startswith("unix:"):
        transport = httpx.HTTPTransport(uds=url.removeprefix("unix:"))
        return httpx.Client(transport=transport, base_url="http://feedback", headers=headers, timeout=timeout_seconds)
    return httpx.Client(base_url=url, headers=headers, timeout=timeout_seconds)
