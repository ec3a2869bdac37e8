"""UUIDv7 identifiers (RFC 9562): they sort by time, so tables are partitioned and paged by the id itself."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import uuid_utils


def new_id() -> UUID:
    """A fresh UUIDv7, made from the wall clock and random bits."""
    return UUID(bytes=uuid_utils.uuid7().bytes)


def first_id(moment: datetime) -> UUID:
    """The smallest UUIDv7 of `moment` (aware, to the millisecond): every id made before it is smaller."""
    milliseconds = int(moment.timestamp() * 1000)
    return UUID(int=(milliseconds << 80) | (0x7 << 76) | (0b10 << 62))


def moment_of(identifier: UUID) -> datetime:
    """When a UUIDv7 was made (UTC, to the millisecond)."""
    return datetime.fromtimestamp((identifier.int >> 80) / 1000, tz=UTC)
