"""Logs of a serving process: Loguru, as text for people or one JSON object per line for machines."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from typing import TYPE_CHECKING

from loguru import logger

from canari.errors import CanariError

if TYPE_CHECKING:
    from loguru import Message, Record

_TEXT = "{time:YYYY-MM-DD HH:mm:ss.SSS} {level: <7} {message} {extra}"


def configure(style: str, level: str) -> None:
    """Write this process's logs, those of the libraries below it too, to standard error.

    `style` is text or json. Raises CanariError where there is no such style or level.
    """
    try:
        logger.remove()
        if style == "json":
            logger.add(_write_json, level=level)
        elif style == "text":
            # Without diagnose: a traceback's values would be the users' inputs and tokens.
            logger.add(sys.stderr, level=level, format=_TEXT, diagnose=False)
        else:
            raise CanariError(f"CANARI_LOG_FORMAT is {style!r}; it is either text or json")
    except ValueError as error:
        raise CanariError(f"CANARI_LOG_LEVEL: {error}; choose DEBUG, INFO, WARNING or ERROR") from error
    logging.basicConfig(handlers=[_Forward()], level=max(logger.level(level).no, logging.WARNING), force=True)


def _write_json(message: Message) -> None:
    sys.stderr.write(json.dumps(_members(message.record), ensure_ascii=False, default=str) + "\n")


def _members(record: Record) -> dict[str, object]:
    members: dict[str, object] = {
        "time": record["time"].isoformat(),
        "level": record["level"].name,
        "message": record["message"],
        **record["extra"],
    }
    error = record["exception"]
    if error:
        members["exception"] = "".join(traceback.format_exception(error.type, error.value, error.traceback))
    return members


class _Forward(logging.Handler):
    """Hands the standard library's records to Loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        logger.opt(depth=6, exception=record.exc_info).log(record.levelname, record.getMessage())
