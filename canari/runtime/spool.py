"""Recorded lines on disk, between the answer and the platform.

A recorder's spool is ``<uuid>.<n>.ndjson`` (segments, n rising), ``<uuid>.offset`` (segment and byte up to which lines
are shipped) and ``<uuid>.lock``, which its process holds locked: a lock that is free belongs to a dead process, and
another process may adopt what is left. Writes are not synced: they outlive the process, not the machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

SEGMENT_BYTES = 8 * 2**20
# The longest that anything waits on this disk for the platform.
LONGEST = timedelta(hours=24)


class Lock:
    """A recorder's lock file, held by this process; its text names the model and version the lines belong to."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    def create(cls, folder: Path, recorder: UUID, owner: str) -> Lock:
        """Make and take the lock of a new recorder."""
        # Locked before it has its name, so that nobody takes it for a dead process's lock in between.
        unnamed = folder / f".{recorder}.lock"
        descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(descriptor, owner.encode())
        path = folder / f"{recorder}.lock"
        unnamed.rename(path)
        return cls(path, descriptor)

    @classmethod
    def take(cls, path: Path, owner: str) -> Lock | None:
        """Take a dead process's lock; None where its process lives, or where its lines are another version's."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if os.read(descriptor, 200).decode(errors="replace") != owner:
            os.close(descriptor)
            return None
        return cls(path, descriptor)

    def release(self) -> None:
        """Let go; the file stays for whoever adopts the lines."""
        os.close(self._descriptor)


class Writer:
    """Appends lines to a recorder's segments, each with one unbuffered write."""

    def __init__(self, folder: Path, recorder: UUID, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder = folder
        self._recorder = recorder
        self._segment_bytes = segment_bytes
        self._number = -1
        self._descriptor = -1
        self._size = 0
        self._opened = 0.0
        self._open_next()

    def append(self, lines: bytes) -> None:
        """Append whole lines; raises OSError when they could not all be written (they are then not read back)."""
        if self._size >= self._segment_bytes:
            self._open_next()
        written = os.write(self._descriptor, lines)
        if written != len(lines):
            # The torn line ends this segment: readers ignore what follows a segment's last newline.
            self._open_next()
            raise OSError("the disk took only a part of the line")
        self._size += written

    def turn(self, older_than: float) -> None:
        """Open the next segment where this one holds lines and is that many seconds old: whole ones get deleted."""
        if self._size and time.monotonic() - self._opened > older_than:
            self._open_next()

    def close(self) -> None:
        """Close the segment."""
        os.close(self._descriptor)

    def _open_next(self) -> None:
        path = segment(self._folder, self._recorder, self._number + 1)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._number, self._descriptor, self._size = self._number + 1, descriptor, 0
        self._opened = time.monotonic()


class Reader:
    """Reads a recorder's lines in order, and remembers on disk how far they are shipped."""

    def __init__(self, folder: Path, recorder: UUID) -> None:
        self._folder = folder
        self._recorder = recorder
        self._offset_file = folder / f"{recorder}.offset"
        numbers = sorted(int(path.name.split(".")[1]) for path in folder.glob(f"{recorder}.*.ndjson"))
        self._number, self._offset = numbers[0] if numbers else 0, 0
        with contextlib.suppress(OSError, ValueError):
            number, offset = map(int, self._offset_file.read_text(encoding="ascii").split())
            if number in numbers:
                self._number, self._offset = number, offset

    def pending(self) -> int:
        """Bytes on disk that are not shipped."""
        sizes = [path.stat().st_size for path in self._folder.glob(f"{self._recorder}.*.ndjson")]
        return max(0, sum(sizes) - self._offset)

    def batch(self, max_lines: int, max_bytes: int) -> bytes:
        """The next whole lines, at least one if there is one; empty at the end. A torn last line is left out."""
        while True:
            # Asked before reading: a writer opens the next segment only when it is done with this one.
            finished = segment(self._folder, self._recorder, self._number + 1).exists()
            lines = self._lines(max_lines, max_bytes)
            if lines or not finished:
                return lines
            segment(self._folder, self._recorder, self._number).unlink(missing_ok=True)
            self._number, self._offset = self._number + 1, 0
            self._remember()

    def advance(self, length: int) -> None:
        """The next `length` bytes are shipped."""
        self._offset += length
        self._remember()

    def remove(self) -> None:
        """Delete every segment and the offset."""
        for path in self._folder.glob(f"{self._recorder}.*.ndjson"):
            path.unlink(missing_ok=True)
        self._offset_file.unlink(missing_ok=True)

    def _lines(self, max_lines: int, max_bytes: int) -> bytes:
        try:
            with segment(self._folder, self._recorder, self._number).open("rb") as file:
                file.seek(self._offset)
                chunk = file.read(max_bytes)
                while b"\n" not in chunk and (more := file.read(max_bytes)):
                    chunk += more
        except FileNotFoundError:
            return b""
        end = 0
        for _ in range(max_lines):
            newline = chunk.find(b"\n", end)
            if newline < 0:
                break
            end = newline + 1
        return chunk[:end]

    def _remember(self) -> None:
        self._offset_file.write_text(f"{self._number} {self._offset}", encoding="ascii")


def segment(folder: Path, recorder: UUID, number: int) -> Path:
    """Where a recorder's lines of segment `number` lie."""
    return folder / f"{recorder}.{number}.ndjson"


def abandoned(folder: Path, owner: str) -> Iterator[tuple[UUID, Lock]]:
    """Take, one after the other, the locks of dead processes that recorded for the same model and version."""
    for path in sorted(folder.glob("*.lock")):
        with contextlib.suppress(ValueError):
            recorder = UUID(path.stem)
            lock = Lock.take(path, owner)
            if lock:
                yield recorder, lock


def expire(folder: Path, older_than: float) -> int:
    """Delete what dead processes of any version left, where none of it was written to for that many seconds.

    Returns how many processes' lines are lost so.
    """
    expired = 0
    for path in sorted(folder.glob("*.lock")):
        with contextlib.suppress(ValueError, FileNotFoundError):
            recorder = UUID(path.stem)
            files = [path, *folder.glob(f"{recorder}.*.ndjson")]
            if max(file.stat().st_mtime for file in files) > time.time() - older_than:
                continue
            lock = Lock.take(path, path.read_text(encoding="utf-8", errors="replace"))
            if lock:
                expired += any(file.stat().st_size for file in files[1:])
                Reader(folder, recorder).remove()
                path.unlink(missing_ok=True)
                lock.release()
    return expired
