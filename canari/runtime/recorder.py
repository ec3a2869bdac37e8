"""Recording predictions: each is on disk before its answer is sent, and reaches the platform in batches."""

from __future__ import annotations

import gzip
import itertools
import random
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol
from uuid import UUID

import httpx
from loguru import logger
from pydantic_core import to_json

from canari.errors import CanariError
from canari.ids import first_id, new_id
from canari.runtime import spool
from canari.runtime.client import PREDICTIONS
from canari.runtime.spool import Lock, Reader, Writer, abandoned
from canari.types import Prediction

BATCH_LINES = 500
BATCH_BYTES = 2**20
GATHER_SECONDS = 1.0
GZIP_OVER_BYTES = 32 * 1024
LONGEST_WAIT_SECONDS = 30.0
# A line is on this disk for a day at most: until it is too old, and then until the segment that holds it is deleted.
TURN_SECONDS = 300.0
LONGEST = spool.LONGEST - timedelta(seconds=TURN_SECONDS)

# A row is one JSON object whose first member is its id.
_ID = re.compile(rb'\{"id":"([0-9a-f-]{36})"')


class Gauges(Protocol):
    """Where a recorder shows how it does."""

    def set_spool_bytes(self, count: int) -> None:
        """Bytes recorded but not yet shipped."""

    def add_lost(self, count: int) -> None:
        """Rows that will never reach the platform."""


@dataclass(slots=True)
class _Source:
    lock: Lock
    reader: Reader
    left: int

    def close(self, *, delete: bool) -> None:
        if delete:
            self.reader.remove()
            self.lock.path.unlink(missing_ok=True)
        self.lock.release()


class Recorder:
    """Writes predictions to a spool and ships them from a thread of its own.

    `append` costs one write(2) and never raises: a row that finds the spool full (`limit` bytes) or the disk failing
    is dropped and counted, and its place in the count stays empty; so is a row that could not be shipped for a day. At
    its start a recorder adopts what dead processes of the same model and version left in `folder`.
    """

    def __init__(
        self, folder: Path, owner: str, client: httpx.Client, gauges: Gauges, limit: int = 256 * 2**20
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.id = new_id()
        self._count = itertools.count(1)
        self._client = client
        self._gauges = gauges
        self._limit = limit
        readers = [(lock, Reader(folder, recorder)) for recorder, lock in abandoned(folder, owner)]
        self._adopted = [_Source(lock, reader, reader.pending()) for lock, reader in readers]
        self._own = _Source(Lock.create(folder, self.id, owner), Reader(folder, self.id), 0)
        self._writer = Writer(folder, self.id)
        self._pending = sum(source.left for source in self._adopted)
        self._waiting_lines = 0
        self._changed = threading.Condition()
        self._hurry = False
        self._stopping = False
        self._failures = 0
        self._dropping = False
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self) -> None:
        """Begin shipping."""
        self._thread.start()

    @property
    def pending(self) -> int:
        """Bytes recorded but not yet shipped."""
        return self._pending

    def next_seq(self) -> int:
        """The next place in this process's unbroken count, which starts at 1."""
        return next(self._count)

    def append(self, predictions: Sequence[Prediction]) -> None:
        """Spool predictions; when this returns they outlive the process, or are counted as lost."""
        lines = b"".join([to_json(prediction) + b"\n" for prediction in predictions])
        with self._changed:
            if self._pending + len(lines) > self._limit:
                self._drop(len(predictions), f"the spool is full ({self._pending} of {self._limit} bytes)")
                return
            try:
                self._writer.append(lines)
            except OSError as error:
                self._drop(len(predictions), str(error))
                return
            self._dropping = False
            first = self._pending == 0
            self._own.left += len(lines)
            self._pending += len(lines)
            self._gauges.set_spool_bytes(self._pending)
            before, self._waiting_lines = self._waiting_lines, self._waiting_lines + len(predictions)
            if first or before < BATCH_LINES <= self._waiting_lines:
                self._changed.notify_all()

    def flush(self, timeout_seconds: float) -> bool:
        """Ship what is spooled without waiting for more; whether all of it left in time."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: self._pending == 0, timeout_seconds)
            finally:
                self._hurry = False

    def close(self, timeout_seconds: float) -> bool:
        """Flush, stop and let go of the spool; what could not be shipped stays for the next process."""
        self.flush(timeout_seconds)
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(1)
        with self._changed:
            self._writer.close()
            for source in (*self._adopted, self._own):
                source.close(delete=source.left == 0)
            return self._pending == 0

    def _drop(self, rows: int, why: str) -> None:
        if not self._dropping:
            logger.error("predictions cannot be spooled and are lost until this ends: {}", why)
        self._dropping = True
        self._gauges.add_lost(rows)

    def _run(self) -> None:
        while True:
            self._wait()
            if self._stopping:
                return
            try:
                self._ship()
            except Exception as error:  # noqa: BLE001 - whatever the platform answers, this thread must go on
                if self._failures == 0:
                    logger.warning("predictions wait in the spool, the platform does not take them: {!r}", error)
                self._failures += 1
            else:
                if self._failures:
                    logger.info("the platform takes predictions again")
                self._failures = 0

    def _wait(self) -> None:
        with self._changed:
            if self._failures and self._hurry:
                self._changed.wait(0.1)
            elif self._failures:
                longest = min(LONGEST_WAIT_SECONDS, GATHER_SECONDS * 2 ** min(self._failures, 10))
                # Jitter keeps the processes of a platform that comes back from knocking all at once.
                wait = longest * random.uniform(0.5, 1)  # noqa: S311
                self._changed.wait_for(lambda: self._stopping or self._hurry, wait)
            else:
                # Woken now and then, so that what is shipped does not stay on the disk of a version nobody asks.
                self._changed.wait_for(lambda: self._stopping or self._pending > 0, TURN_SECONDS)
                self._changed.wait_for(
                    lambda: self._stopping or self._hurry or self._waiting_lines >= BATCH_LINES, GATHER_SECONDS
                )

    def _ship(self) -> None:
        with self._changed:
            self._writer.turn(TURN_SECONDS)
        while self._adopted and self._drain(self._adopted[0]):
            source = self._adopted.pop(0)
            # What is left is torn lines.
            self._settle(source, source.left, 0)
            source.close(delete=True)
        self._drain(self._own)

    def _drain(self, source: _Source) -> bool:
        """Ship every whole line there is; False when told to stop before. Raises when the platform refuses."""
        while not self._stopping:
            lines = source.reader.batch(BATCH_LINES, BATCH_BYTES)
            if not lines:
                return True
            old, lines = _parted(lines, first_id(datetime.now(UTC) - LONGEST))
            if old:
                self._forget(source, old)
                continue
            self._post(lines)
            source.reader.advance(len(lines))
            self._settle(source, len(lines), lines.count(b"\n"))
        return False

    def _forget(self, source: _Source, lines: bytes) -> None:
        logger.error("{} predictions waited in the spool for a day and are lost", lines.count(b"\n"))
        self._gauges.add_lost(lines.count(b"\n"))
        source.reader.advance(len(lines))
        self._settle(source, len(lines), lines.count(b"\n"))

    def _post(self, lines: bytes) -> None:
        headers = {"Content-Type": "application/x-ndjson"}
        body = lines
        if len(lines) > GZIP_OVER_BYTES:
            body, headers["Content-Encoding"] = gzip.compress(lines, compresslevel=1), "gzip"
        answer = self._client.post(PREDICTIONS, content=body, headers=headers)
        if answer.status_code != 200:
            raise CanariError(f"status {answer.status_code}: {answer.text[:200]}")
        refused = answer.json()["refused"]
        if refused:
            logger.error("the platform refused {} rows for good; the first: {}", len(refused), refused[0])
            self._gauges.add_lost(len(refused))

    def _settle(self, source: _Source, count: int, lines: int) -> None:
        with self._changed:
            source.left -= count
            self._pending -= count
            if source is self._own:
                self._waiting_lines -= lines
            self._gauges.set_spool_bytes(self._pending)
            self._changed.notify_all()


def _parted(lines: bytes, oldest: UUID) -> tuple[bytes, bytes]:
    """Whole lines, in the order of their ids, as those from before `oldest` and the others."""
    end = 0
    while end < len(lines):
        newline = lines.index(b"\n", end)
        if not _is_older(lines[end:newline], oldest):
            break
        end = newline + 1
    return lines[:end], lines[end:]


def _is_older(line: bytes, oldest: UUID) -> bool:
    """Whether a row is from before `oldest`; a line that is no row goes to the platform, which says what is wrong."""
    found = _ID.match(line)
    return found is not None and UUID(found.group(1).decode()) < oldest
