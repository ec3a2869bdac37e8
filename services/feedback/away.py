"""What is answered while the database, or the archives' bucket, is away."""

from __future__ import annotations

import psycopg2
from fastapi import Request
from loguru import logger
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from canari.archives import ArchivesAwayError
from canari.errors import Problem
from services.web.problems import Translate

_RETRY_SECONDS = "2"


def database_away(_: Request, error: Exception) -> Problem:
    """The problem that stands for a database that does not answer."""
    logger.warning("the database does not answer: {}", str(error).strip().partition("\n")[0])
    detail = "The database does not answer. Nothing was kept; try again shortly."
    return Problem(503, "database-away", detail, headers={"Retry-After": _RETRY_SECONDS})


def archives_away(_: Request, error: Exception) -> Problem:
    """The problem that stands for a bucket that does not answer."""
    logger.warning("{}", error)
    detail = "The archives cannot be reached. Nothing was kept; try again shortly."
    return Problem(503, "archives-away", detail, headers={"Retry-After": _RETRY_SECONDS})


# The store copies rows in with psycopg2 itself, whose errors SQLAlchemy then does not wrap.
PROBLEMS: dict[type[Exception], Translate] = {
    **dict.fromkeys((OperationalError, InterfaceError, PoolTimeoutError, psycopg2.OperationalError), database_away),
    ArchivesAwayError: archives_away,
}
