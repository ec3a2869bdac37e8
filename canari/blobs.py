"""Files by content: what may be kept of inputs and samples lies here, never in Postgres."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from uuid import uuid4

_FOLDER = re.compile(r"[A-Za-z0-9][\w.:-]*(/[A-Za-z0-9][\w.:-]*)*")
_DIGEST = re.compile(r"[0-9a-f]{64}")


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

    def _path(self, folder: str, sha256: str) -> Path:
        if not _DIGEST.fullmatch(sha256):
            raise ValueError(f"{sha256!r} is not a SHA-256 in lower-case hexadecimal digits")
        return self._folder(folder) / sha256

    def _folder(self, folder: str) -> Path:
        """Subjects come from tokens: a name that could lead out of the store is refused."""
        if not _FOLDER.fullmatch(folder):
            raise ValueError(f"{folder!r} cannot be a blob folder: use letters, digits and . : - _ between slashes")
        return self._root / folder
