"""Fetching a version's bento before it is served: ``python -m canari.runtime.fetch --to FOLDER``.

The archive that ``CANARI_ARCHIVE`` names by SHA-256 is asked of the feedback API at ``CANARI_FEEDBACK_URL`` with the
version's own ``CANARI_TOKEN``, and unpacked as ``FOLDER/content``. Done at once where it is there already. Ends with 0
once it is there, 1 where trying again would not help, and 75 (EX_TEMPFAIL) where the time ran out.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import httpx
from loguru import logger

from canari.archive import unpack
from canari.errors import CanariError
from canari.runtime import logs
from canari.runtime.client import connect

CONTENT = "content"
"""The name of the bento's folder below the one that is given."""

_TIMEOUT_SECONDS = 300.0
_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS = 0.25, 10.0
_PROGRESS_SECONDS = 5.0
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ADVICE = {
    401: "the token in CANARI_TOKEN is not this platform's, or has run out; the controller makes another",
    403: "the token in CANARI_TOKEN is not a version's",
    404: "the platform's archives do not hold it; push the version again, or put their folder or bucket back",
}


class OutOfTimeError(CanariError):
    """The feedback API could not be reached, or was not ready, for all the time there was."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch what the environment names; returns the exit status, the fault in one line on standard error."""
    options = _parser().parse_args(arguments)
    # A container's first process is ended by no signal that it does not handle.
    signal.signal(signal.SIGTERM, _leave)
    try:
        logs.configure(os.environ.get("CANARI_LOG_FORMAT", "text"), os.environ.get("CANARI_LOG_LEVEL", "INFO").upper())
        sha256 = _archive(os.environ)
        url, token = _required(os.environ, "CANARI_FEEDBACK_URL"), _required(os.environ, "CANARI_TOKEN")
        with connect(url, token) as client:
            fetch(client, sha256, options.to, options.timeout)
    except CanariError as error:
        sys.stderr.write(f"canari.runtime.fetch: {error}\n")
        return os.EX_TEMPFAIL if isinstance(error, OutOfTimeError) else 1
    return 0


def fetch(client: httpx.Client, sha256: str, folder: Path, timeout_seconds: float = _TIMEOUT_SECONDS) -> None:
    """Have the bento whose archive `sha256` names in ``folder/content``.

    A feedback API that is away or not ready is asked again, more and more rarely, for `timeout_seconds`. Raises
    OutOfTimeError then, and CanariError where it refuses, or where what came is not what `sha256` names.
    """
    content, archive = folder / CONTENT, folder / f"{sha256}.tar.gz"
    if content.exists():
        logger.info("the bento is there already")
        return
    began = time.monotonic()
    try:
        _download(client, sha256, archive, began + timeout_seconds)
        unpack(sha256, archive, content)
        size = archive.stat().st_size
        archive.unlink()
    except OSError as error:
        raise CanariError(f"the bento cannot be written to {folder}: {error.strerror or error}") from error
    logger.info("fetched {:.1f} MB in {:.1f} s, digest as named", size / 1e6, time.monotonic() - began)


def _download(client: httpx.Client, sha256: str, target: Path, deadline: float) -> None:
    for delay in _delays():
        try:
            _attempt(client, sha256, target)
        except httpx.TransportError as error:
            fault = str(error) or type(error).__name__
        except httpx.HTTPStatusError as error:
            fault = f"it answers {error.response.status_code}"
        except httpx.InvalidURL as error:
            raise CanariError(f"CANARI_FEEDBACK_URL is not an address: {error}") from error
        else:
            return
        if time.monotonic() + delay > deadline:
            where = f"the feedback API at {client.base_url}"
            raise OutOfTimeError(f"{where} did not hand out the archive {sha256} in time: {fault}")
        logger.warning("waiting for the feedback API at {}: {}", client.base_url, fault)
        time.sleep(delay)


def _attempt(client: httpx.Client, sha256: str, target: Path) -> None:
    """Download once. Raises httpx.HTTPError where it may be tried again, CanariError where it may not."""
    with client.stream("GET", f"/internal/bentos/{sha256}") as response:
        if response.status_code in _TRANSIENT:
            response.raise_for_status()
        if response.status_code != httpx.codes.OK:
            raise CanariError(_refusal(response, sha256))
        expected = int(response.headers.get("content-length", 0))
        told = time.monotonic()
        with target.open("wb") as file:
            for block in response.iter_bytes():
                file.write(block)
                if time.monotonic() - told > _PROGRESS_SECONDS:
                    told = time.monotonic()
                    logger.info("{:.1f} of {:.1f} MB", file.tell() / 1e6, expected / 1e6)


def _refusal(response: httpx.Response, sha256: str) -> str:
    status = response.status_code
    advice = _ADVICE.get(status, "CANARI_FEEDBACK_URL does not lead to Canari's feedback API")
    return f"the feedback API refuses the archive {sha256} with status {status}: {advice}"


def _delays() -> Iterator[float]:
    delay = _FIRST_DELAY_SECONDS
    while True:
        yield delay
        delay = min(2 * delay, _LONGEST_DELAY_SECONDS)


def _archive(environment: Mapping[str, str]) -> str:
    sha256 = _required(environment, "CANARI_ARCHIVE")
    if not _SHA256.fullmatch(sha256):
        raise CanariError(f"CANARI_ARCHIVE is {sha256!r}; it must be a SHA-256, 64 of 0-9 and a-f")
    return sha256


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name)
    if not value:
        raise CanariError(f"{name} is not set; a version's bento is fetched with it")
    return value


def _leave(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="canari.runtime.fetch", description="Fetch a version's bento and unpack it.")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="the bento becomes FOLDER/content")
    parser.add_argument(
        "--timeout",
        type=float,
        default=_TIMEOUT_SECONDS,
        metavar="SECONDS",
        help="how long a feedback API that does not answer is waited for (default: %(default)g)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
