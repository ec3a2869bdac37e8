"""Connections: synchronous SQLAlchemy on psycopg2."""

from __future__ import annotations

from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from canari.errors import CanariError


def connect(url: str, *, pool: int = 5) -> Engine:
    """An engine for `url` (postgresql://...): connections are checked before use, and statements end after 30 s.

    Raises CanariError where `url` is none.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise CanariError(
            "that is no address of a PostgreSQL database: give postgresql://USER:PASSWORD@HOST/NAME"
        ) from None
    if parsed.drivername in {"postgres", "postgresql"}:
        parsed = parsed.set(drivername="postgresql+psycopg2")
    return create_engine(
        parsed,
        pool_size=pool,
        max_overflow=pool,
        pool_pre_ping=True,
        pool_recycle=1800,
        connect_args={
            "connect_timeout": 5,
            "application_name": "canari",
            "options": "-c statement_timeout=30000 -c timezone=UTC",
        },
    )
