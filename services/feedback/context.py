"""What the routes work with, made once by the entry point."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Generic, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import Depends, Request
from loguru import logger
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from canari.archives import Archives
from canari.blobs import Blobs, FolderBlobs
from canari.erasure import Eraser
from canari.errors import Problem
from canari.settings import Layout
from canari.spec import ModelSpec
from canari.store import access, versions
from canari.tokens import Verifier, public_pem
from canari.tombstones import Tombstones
from services.feedback.attempts import Attempts

T = TypeVar("T")
_REVOCATIONS_SECONDS = 5.0
# However long a status takes to gather, gathering it is at most this part of what the database does.
STATUS_SECONDS, STATUS_SHARE = 2.0, 0.05


class Cached(Generic[T]):
    """A value that is made anew when it is older than `seconds`, or than took to make divided by `share`."""

    def __init__(self, make: Callable[[], T], seconds: float, share: float = 1.0) -> None:
        self._make = make
        self._seconds = seconds
        self._share = share
        self._lock = threading.Lock()
        self._value: T | None = None
        self._good_until = 0.0

    def get(self) -> T:
        """The value; many who ask at once have it made once."""
        with self._lock:
            started = time.monotonic()
            if self._value is None or started >= self._good_until:
                self._value = self._make()
                took = time.monotonic() - started
                self._good_until = started + max(self._seconds, took / self._share)
            return self._value


@dataclass
class Context:
    """The database, the signing key, where archives are kept, and the data folder with inputs and tombstones."""

    engine: Engine
    key: Ed25519PrivateKey
    archives: Archives
    layout: Layout
    archive_max_bytes: int = 2**30
    secure_cookies: bool = False
    attempts: Attempts = field(default_factory=Attempts)

    def __post_init__(self) -> None:
        self._verifier = Verifier(public_pem(self.key))
        self._revoked = Cached(self._read_revoked, _REVOCATIONS_SECONDS)

        self.blobs: Blobs = FolderBlobs(self.layout.blobs)
        self.tombstones = Tombstones(self.layout.root)
        self.eraser = Eraser(self.engine, self.layout, self.tombstones, lambda: self.key)

    def verifier(self) -> Verifier:
        """The verifier, its list of revoked tokens a few seconds old at most while the database answers."""
        self._verifier.revoked = self._revoked.get()
        return self._verifier

    def forget_revocations(self) -> None:
        """Have the list of revoked tokens read anew at the next request."""
        self._revoked = Cached(self._read_revoked, _REVOCATIONS_SECONDS)

    def spec(self, model: str) -> ModelSpec:
        """A model's live specification; raises Problem 404 that names the models there are."""
        specs = versions.live_specs(self.engine)
        if model not in specs:
            known = ", ".join(specs) or "none yet"
            raise Problem(404, "unknown-model", f"There is no model {model!r}; the models are: {known}.")
        return specs[model]

    def _read_revoked(self) -> frozenset[str]:
        try:
            return frozenset(access.revoked(self.engine))
        except SQLAlchemyError as error:
            logger.warning("revoked tokens cannot be read, the last list stands: {}", error)
            return self._verifier.revoked


def of_request(request: Request) -> Context:
    """The context of the application that answers `request`."""
    context: Context = request.app.state.context
    return context


InContext = Annotated[Context, Depends(of_request)]
