"""A database on which work can be rehearsed: what is written is seen by the rehearsal alone, and kept by nobody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg2.extensions import connection as PsycopgConnection  # noqa: N812 - a class, for all its name
from sqlalchemy import Engine, StaticPool, create_engine
from sqlalchemy.engine import make_url


class _Uncommitted(PsycopgConnection):
    """One transaction for all that is done: it ends when the connection closes, and is then undone."""

    def commit(self) -> None:
        """Keep the transaction open."""

    def rollback(self) -> None:
        """Keep the transaction open: a reader's end must not undo what was written before."""


@contextmanager
def rehearsal(url: str) -> Iterator[Engine]:
    """An engine for `url` (postgresql://...) for a while, none of whose writes outlive it."""
    parsed = make_url(url).set(drivername="postgresql+psycopg2")
    engine = create_engine(
        parsed,
        poolclass=StaticPool,
        connect_args={"connection_factory": _Uncommitted, "connect_timeout": 5, "application_name": "canari"},
    )
    try:
        yield engine
    finally:
        engine.dispose()
