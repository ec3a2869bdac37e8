"""Inputs that may be kept, from the answer to the platform: a file each beside the spool, shipped by a thread.

They are worth less than rows: where the disk is short they go first, and none of them ever delays an answer. A file is
one line of JSON that says whose input it is, then the input itself; the platform is sent the file as it is.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol
from uuid import UUID

import httpx
from loguru import logger
from pydantic import TypeAdapter
from pydantic_core import to_json

from canari.errors import CanariError
from canari.ids import first_id
from canari.runtime.client import INPUTS
from canari.runtime.spool import LONGEST

FOLDER = "inputs"
MEDIA_TYPE = "application/vnd.canari.input"
MOST_BYTES = 32 * 2**20
LONGEST_WAIT_SECONDS = 30.0
_SUFFIX = ".input"
_DONE, _FOR_LATER = {200, 201, 204}, {401, 403, 408, 429}
_MOST_HEAD_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Head:
    """Whose input it is. `consented`: whether its sender agreed to its being kept."""

    prediction_id: UUID
    subject: str
    media_type: str
    consented: bool
    bytes: int


class Gauges(Protocol):
    """Where a keeper shows how it does."""

    def add_lost_inputs(self, count: int) -> None:
        """Inputs that will never reach the platform."""


_HEAD = TypeAdapter(Head)


def pack(head: Head, content: bytes) -> bytes:
    """An input as it lies on disk and goes over the wire."""
    return to_json(head) + b"\n" + content


def unpack(body: bytes) -> tuple[Head, bytes]:
    """What `pack` made; raises ValueError where that is torn, or something else."""
    line, newline, content = body.partition(b"\n")
    if not newline or len(line) > _MOST_HEAD_BYTES:
        raise ValueError("an input begins with one line of JSON that says whose it is")
    head = _HEAD.validate_json(line)
    if head.bytes != len(content):
        raise ValueError(f"the input has {len(content)} bytes, not {head.bytes} as its first line says")
    return head, content


def media_type(content: bytes) -> str:
    """What an input is, by its first bytes: one of the few picture formats a browser shows, or text."""
    for start, kind in ((b"\xff\xd8", "jpeg"), (b"\x89PNG", "png"), (b"GIF8", "gif"), (b"BM", "bmp")):
        if content.startswith(start):
            return f"image/{kind}"
    return "image/webp" if content[:4] == b"RIFF" and content[8:12] == b"WEBP" else "text/plain"


class Keeper:
    """Takes inputs in, and ships them. `owner` is the model and version, ``MODEL/VERSION``.

    `rows` tells how many bytes of rows wait in the spool: both share `limit`, and inputs make room. At its start a
    keeper adopts what earlier processes of the version left in `folder`.
    """

    def __init__(
        self,
        folder: Path,
        owner: str,
        client: httpx.Client,
        gauges: Gauges,
        rows: Callable[[], int],
        limit: int = 256 * 2**20,
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._prefix = f"{owner.replace('/', '-')}."
        self._client = client
        self._gauges = gauges
        self._rows = rows
        self._limit = limit
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Path, int]] = deque(_left(folder, self._prefix))
        self._bytes = sum(size for _, size in self._waiting)
        self._writing = 0
        self._failures = 0
        self._hurry = False
        self._stopping = False
        self._dropping = False
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="inputs-writer")
        self._thread = threading.Thread(target=self._run, name="inputs", daemon=True)

    def start(self) -> None:
        """Begin shipping."""
        self._thread.start()

    def offer(self, prediction_id: UUID, subject: str, content: bytes, *, consented: bool) -> bool:
        """Have an input kept, as well as can be; False where it is too large or there is no room.

        Nothing is written before it returns, and it never raises.
        """
        with self._changed:
            full = self._rows() + self._bytes + len(content) > self._limit
            if full or len(content) > MOST_BYTES or self._stopping:
                self._lose(1, "the spool is full" if full else f"it has {len(content)} bytes")
                return False
            self._bytes += len(content)
            self._writing += 1
            self._dropping = False
        head = Head(prediction_id, subject, media_type(content), consented, len(content))
        self._writer.submit(self._write, head, content)
        return True

    def close(self, timeout_seconds: float) -> bool:
        """Ship what there is and stop; whether all of it left. The rest waits for the version's next process."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._waiting and not self._writing, timeout_seconds)
            self._stopping = True
            self._changed.notify_all()
        self._writer.shutdown()
        self._thread.join(1)
        return not self._waiting

    def _write(self, head: Head, content: bytes) -> None:
        path = self._folder / f"{self._prefix}{head.prediction_id}{_SUFFIX}"
        unfinished = path.with_name(f".{path.name}")
        try:
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(pack(head, content))
            unfinished.replace(path)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            with self._changed:
                self._bytes -= len(content)
                self._writing -= 1
                self._lose(1, str(error))
                self._changed.notify_all()
            return
        with self._changed:
            self._writing -= 1
            self._waiting.append((path, len(content)))
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._failures:
                    longest = min(LONGEST_WAIT_SECONDS, 2.0 ** min(self._failures, 10))
                    wait = 0.1 if self._hurry else longest * random.uniform(0.5, 1)  # noqa: S311 - no secret
                    self._changed.wait_for(lambda: self._stopping, wait)
                else:
                    self._changed.wait_for(lambda: self._stopping or bool(self._waiting))
                if self._stopping:
                    return
            try:
                self._make_room()
                self._ship()
            except Exception as error:  # noqa: BLE001 - whatever the platform answers, this thread must go on
                if self._failures == 0:
                    logger.warning("inputs wait beside the spool, the platform does not take them: {!r}", error)
                self._failures += 1
            else:
                self._failures = 0

    def _make_room(self) -> None:
        """Drop what is too old to be kept here, and what rows need the place of: the oldest first."""
        oldest = first_id(datetime.now(UTC) - LONGEST)
        while self._waiting:
            path, size = self._waiting[0]
            if _id(path) < oldest:
                self._settle(path, size, lost="it waited for a day")
            elif self._rows() + self._bytes > self._limit:
                self._settle(path, size, lost="the spool is full")
            else:
                return

    def _ship(self) -> None:
        while self._waiting and not self._stopping:
            path, size = self._waiting[0]
            try:
                body = path.read_bytes()
                head, _ = unpack(body)
            except (OSError, ValueError):
                # Another worker shipped it, or a process was killed while writing it.
                self._settle(path, size)
                continue
            answer = self._client.put(
                f"{INPUTS}/{head.prediction_id}", content=body, headers={"Content-Type": MEDIA_TYPE}
            )
            status = answer.status_code
            if status >= 500 or status in _FOR_LATER:
                raise CanariError(f"status {status}: {answer.text[:200]}")
            self._settle(path, size, lost=None if status in _DONE else f"status {status}: {answer.text[:200]}")

    def _settle(self, path: Path, size: int, lost: str | None = None) -> None:
        path.unlink(missing_ok=True)
        with self._changed:
            self._waiting.popleft()
            self._bytes -= size
            if lost:
                self._lose(1, lost)
            self._changed.notify_all()

    def _lose(self, count: int, why: str) -> None:
        if not self._dropping:
            logger.warning("inputs are lost that might have been kept: {}", why)
        self._dropping = True
        self._gauges.add_lost_inputs(count)


def discard(folder: Path, owner: str | None = None) -> int:
    """Delete what waits in `folder`, of one version or of all: the policy keeps none. Returns how many files."""
    prefix = f"{owner.replace('/', '-')}." if owner else ""
    found = [path for path in folder.glob(f"*{_SUFFIX}") if path.name.removeprefix(".").startswith(prefix)]
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


def expire(folder: Path, older_than: float = LONGEST.total_seconds()) -> int:
    """Delete files that were written longer ago (seconds), by whichever process; returns how many."""
    expired = 0
    for path in folder.glob(f"*{_SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < time.time() - older_than:
                path.unlink()
                expired += 1
    return expired


def _left(folder: Path, prefix: str) -> list[tuple[Path, int]]:
    """What earlier processes left, oldest first; what they had not finished writing goes when it is old."""
    found = []
    for path in sorted(folder.glob(f"{prefix}*{_SUFFIX}")):
        with contextlib.suppress(FileNotFoundError, ValueError):
            _id(path)
            found.append((path, path.stat().st_size))
    for path in folder.glob(f".{prefix}*{_SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < time.time() - 60:
                path.unlink()
    return found


def _id(path: Path) -> UUID:
    return UUID(path.name.removesuffix(_SUFFIX).rpartition(".")[2])
