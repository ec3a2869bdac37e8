"""The two ways to say no: to a person at a terminal, and to a client over HTTP."""

from __future__ import annotations

import json
from typing import Any

PROBLEM_JSON = "application/problem+json"


class CanariError(Exception):
    """Something the person at the keyboard can mend; the message says how."""


class Problem(Exception):  # noqa: N818 - the RFC's own word
    """An HTTP error as problem details (RFC 9457).

    `code` names the kind of problem for machines (``unsupported-media-type``), `detail` tells a person what is
    accepted. `headers` are added to the answer, `extra` are the RFC's extension members.
    """

    def __init__(
        self, status: int, code: str, detail: str, *, headers: dict[str, str] | None = None, **extra: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers or {}
        self.extra = extra

    def body(self, request_id: str | None = None) -> dict[str, Any]:
        """The JSON members of the answer."""
        members: dict[str, Any] = {
            "type": f"urn:canari:problem:{self.code}",
            "title": self.code.replace("-", " ").capitalize(),
            "status": self.status,
            "detail": self.detail,
            **self.extra,
        }
        if request_id:
            members["request_id"] = request_id
        return members

    def encode(self, request_id: str | None = None) -> bytes:
        """`body` as UTF-8 JSON."""
        return json.dumps(self.body(request_id), ensure_ascii=False).encode()
