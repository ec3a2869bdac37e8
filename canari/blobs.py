"""Files by content: what may be kept of inputs and samples lies here, never in Postgres."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol
from uuid import uuid4

_FOLDER = re.compile(r"[A-Za-z0-9][\w.:-]*(/[A-Za-z0-9][\w.:-]*)*")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Listed:
    """A blob that is there, and since when."""

    folder: str
    sha256: str
    since: datetime


def samples_folder(model: str) -> str:
    """Where a model's samples lie."""
    return f"samples/{model}"


def inputs_folder(model: str, subject: str) -> str:
    """Where the kept inputs of one subject to a model lie. A subject may be any text, so its digest stands for it."""
    return f"inputs/{model}/{hashlib.sha256(subject.encode()).hexdigest()}"


class Blobs(Protocol):
    """A blob store. `folder` says whose a blob is (``samples/cats_dogs``), so that all of it can be erased at once."""

    def put(self, folder: str, content: bytes) -> str:
        """Keep `content`; returns its SHA-256. Putting the same again changes nothing."""

    def get(self, folder: str, sha256: str) -> bytes:
        """The content; raises KeyError where it was never put or is deleted."""

    def delete(self, folder: str, sha256: str) -> None:
        """Forget one blob, if it is there."""

    def delete_folder(self, folder: str) -> None:
        """Forget all of a folder, if it is there."""

    def list(self, folder: str) -> Iterator[Listed]:
        """What is kept in a folder and in those inside it."""

    def drop_unfinished(self, folder: str, before: datetime) -> int:
        """Delete what killed processes began to put before a moment (aware); returns how many there were."""


class FolderBlobs:
    """The blob store as files under `root`, named by their SHA-256."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, folder: str, content: bytes) -> str:
        """Keep `content`; a reader sees all of it or nothing, also when this process is killed."""
        sha256 = hashlib.sha256(content).hexdigest()
        path = self._path(folder, sha256)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(f".{sha256}.{uuid4().hex}")
            try:
                with unfinished.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                unfinished.replace(path)
            finally:
                unfinished.unlink(missing_ok=True)
        return sha256

    def get(self, folder: str, sha256: str) -> bytes:
        """The content; raises KeyError where there is none."""
        try:
            return self._path(folder, sha256).read_bytes()
        except FileNotFoundError:
            raise KeyError(f"{folder}/{sha256}") from None

    def delete(self, folder: str, sha256: str) -> None:
        """Forget one blob, if it is there."""
        self._path(folder, sha256).unlink(missing_ok=True)

    def delete_folder(self, folder: str) -> None:
        """Forget all of a folder, if it is there."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self._folder(folder))

    def list(self, folder: str) -> Iterator[Listed]:
        """What is kept in a folder and in those inside it."""
        for file in self._files(folder):
            if _DIGEST.fullmatch(file.name):
                with suppress(FileNotFoundError):
                    since = datetime.fromtimestamp(file.stat().st_mtime, tz=UTC)
                    yield Listed(file.parent.relative_to(self._root).as_posix(), file.name, since)

    def drop_unfinished(self, folder: str, before: datetime) -> int:
        """Delete what killed processes began to put before a moment (aware); returns how many there were."""
        dropped = 0
        for file in self._files(folder):
            with suppress(FileNotFoundError):
                if file.name.startswith(".") and file.stat().st_mtime < before.timestamp():
                    file.unlink()
                    dropped += 1
        return dropped

    def _files(self, folder: str) -> Iterator[Path]:
        for place, _, names in os.walk(self._folder(folder)):
            yield from (Path(place, name) for name in names)

    def _path(self, folder: str, sha256: str) -> Path:
        if not _DIGEST.fullmatch(sha256):
            raise ValueError(f"{sha256!r} is not a SHA-256 in lower-case hexadecimal digits")
        return self._folder(folder) / sha256

    def _folder(self, folder: str) -> Path:
        """Subjects come from tokens: a name that could lead out of the store is refused."""
        if not _FOLDER.fullmatch(folder):
            raise ValueError(f"{folder!r} cannot be a blob folder: use letters, digits and . : - _ between slashes")
        return self._root / folder
