"""Style sheets, scripts and pictures, under an address that changes with their content and is cached for good."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_FOR_GOOD = "public, max-age=31536000, immutable"


class Assets:
    """The assets of some folders below `root`. One digest stands for all, so that a script's imports share it."""

    def __init__(self, root: Path, folders: Iterable[str]) -> None:
        paths = sorted(path for folder in folders for path in (root / folder).rglob("*") if path.suffix in _MEDIA_TYPES)
        self._files = {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}
        digest = hashlib.sha256()
        for name, content in self._files.items():
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        self.digest = digest.hexdigest()[:16]

    def url(self, name: str) -> str:
        """The address of an asset; raises KeyError where there is none of this name."""
        if name not in self._files:
            raise KeyError(name)
        return f"/assets/{self.digest}/{name}"

    def route(self) -> Route:
        """What answers these addresses. Under an older digest the newest content is sent, and not kept."""
        return Route("/assets/{digest}/{name:path}", self._answer)

    def _answer(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._files:
            raise HTTPException(404)
        cached = _FOR_GOOD if request.path_params["digest"] == self.digest else "no-cache"
        media_type = _MEDIA_TYPES[Path(name).suffix]
        return Response(self._files[name], media_type=media_type, headers={"Cache-Control": cached})
