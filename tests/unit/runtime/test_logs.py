from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
from loguru import logger

from canari.errors import CanariError
from canari.runtime import logs


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logger.remove()


def fail(secret: str) -> None:
    assert secret
    raise RuntimeError("it failed")


def test_json_lines_hold_what_was_bound_and_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "INFO")
    logger.info("answered", request_id="r-1")
    logger.debug("not shown")
    try:
        fail("hunter2")
    except RuntimeError:
        logger.exception("broken")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["level"], first["message"], first["request_id"]) == ("INFO", "answered", "r-1")
    assert "it failed" in second["exception"]


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_traceback_never_shows_values(capsys: pytest.CaptureFixture[str], style: str) -> None:
    logs.configure(style, "INFO")
    try:
        fail("hunter" + "2")
    except RuntimeError:
        logger.exception("broken")
    shown = capsys.readouterr().err
    assert "it failed" in shown
    assert "hunter2" not in shown


def test_the_libraries_warnings_are_forwarded(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("text", "INFO")
    logging.getLogger("uvicorn").warning("careful")
    logging.getLogger("uvicorn").info("chatter")
    shown = capsys.readouterr().err
    assert "careful" in shown
    assert "chatter" not in shown


@pytest.mark.parametrize(
    ("style", "level", "says"), [("xml", "INFO", "text or json"), ("text", "LOUD", "choose DEBUG")]
)
def test_a_wrong_setting_is_named(style: str, level: str, says: str) -> None:
    with pytest.raises(CanariError, match=says):
        logs.configure(style, level)
