"""Who was erased, told without saying who: keyed hashes in a file of its own, that outlives a restored database.

A plain hash of a name can be found by trying names. So subjects are hashed with a salt, which lies beside the file and
never in the database: whoever holds a copy of the database alone learns nothing from its tombstones.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from canari.errors import CanariError
from canari.ids import new_id
from canari.tokens import VISITOR

NAMELESS = "anonymous:"
ERASED = "erased"
LEDGER = "erasures.jsonl"
SALT = "erasures.salt"
_SALT_BYTES = 32


@dataclass(frozen=True, slots=True)
class Tombstone:
    """That a subject was erased: what it did before `erased_before` stays out for ever, what it does later is its own.

    `access`: its tokens and its account go too. `requested_by` never names the subject itself.
    """

    id: UUID
    subject_hash: str
    erased_before: datetime
    requested_by: str
    access: bool = False

    def document(self) -> dict[str, str | bool]:
        """As one line of the file."""
        return {**asdict(self), "id": str(self.id), "erased_before": self.erased_before.astimezone(UTC).isoformat()}


class Tombstones:
    """The salt and the file in `folder`, which every part of a platform that erases must share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._salt: bytes | None = None

    @property
    def file(self) -> Path:
        """Where the tombstones are, a line each."""
        return self._folder / LEDGER

    def hash(self, subject: str) -> str:
        """What a tombstone calls a subject: HMAC-SHA256 (RFC 2104) under the salt, in hexadecimal digits."""
        if self._salt is None:
            self._salt = _salt(self._folder)
        return hmac.new(self._salt, subject.encode(), hashlib.sha256).hexdigest()

    def read(self) -> list[Tombstone]:
        """Every tombstone, oldest first; raises CanariError that names a line that is none."""
        try:
            lines = self.file.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        return [self._parse(number, line) for number, line in enumerate(lines, 1) if line.strip()]

    def add(self, tombstones: Iterable[Tombstone]) -> None:
        """Append those that are not there yet; on disk when this returns."""
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            known = {one.id for one in self.read()}
            lines = [json.dumps(one.document(), sort_keys=True) for one in tombstones if one.id not in known]
            if lines:
                file.write("".join(f"{line}\n" for line in lines).encode())
                file.flush()
                os.fsync(file.fileno())

    def _parse(self, number: int, line: str) -> Tombstone:
        try:
            held = json.loads(line)
            moment = datetime.fromisoformat(held["erased_before"])
            one = Tombstone(
                UUID(held["id"]), held["subject_hash"], moment, held["requested_by"], bool(held.get("access"))
            )
        except (ValueError, KeyError, TypeError) as error:
            raise CanariError(
                f"{self.file}, line {number}: this is no tombstone ({error}): put the file back from a backup"
            ) from None
        return one


def pseudonym(erasure: UUID, subject: str) -> str:
    """The name that an erased subject's votes go on under, so that nobody's vote counts twice.

    Of a visitor it stays a visitor's and of the nameless a nameless one's: their votes count as they did.
    """
    prefix = next((known for known in (VISITOR, NAMELESS) if subject.startswith(known)), "")
    return f"{prefix}{ERASED}:{erasure}"


def is_pseudonym(subject: str) -> bool:
    """Whether a name is one that erasures left."""
    return subject.removeprefix(VISITOR).removeprefix(NAMELESS).partition(":")[0] == ERASED


def tombstone(subject_hash: str, erased_before: datetime, requested_by: str, *, access: bool) -> Tombstone:
    """A new one."""
    return Tombstone(new_id(), subject_hash, erased_before, requested_by, access)


def _salt(folder: Path) -> bytes:
    """The salt, drawn once: of several processes that draw one at the same moment, the first's stays."""
    file = folder / SALT
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        fresh = folder / f".{SALT}.{new_id()}"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as output:
            output.write(os.urandom(_SALT_BYTES).hex().encode())
            output.flush()
            os.fsync(output.fileno())
        with suppress(FileExistsError):
            os.link(fresh, file)
        fresh.unlink()
    try:
        salt = bytes.fromhex(file.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise CanariError(f"{file} cannot be read ({error}): put it back from a backup") from None
    if len(salt) != _SALT_BYTES:
        raise CanariError(f"{file} does not hold {_SALT_BYTES} bytes in hexadecimal digits: put it back from a backup")
    return salt
