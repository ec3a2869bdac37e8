"""Speaking to a platform over HTTP as its users do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from canari.errors import CanariError


class RefusedError(CanariError):
    """The platform answered with an error of HTTP status `status`; the message holds its own words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


def checked(response: httpx.Response) -> Mapping[str, Any]:
    """The JSON of a good answer; raises RefusedError with the problem's detail."""
    try:
        body = response.json()
    except ValueError:
        body = {"detail": response.text[:300]}
    if not response.is_success:
        raise RefusedError(response.status_code, str(body.get("detail") or body))
    return dict(body)
