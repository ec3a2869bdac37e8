"""Sending a folder of samples to a platform elsewhere, several at a time; what is there already is not sent again."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import httpx

from canari.folders import labelled_files
from canari.remote import RefusedError, checked

AT_A_TIME = 4
_TRIES = 5
_WAIT_SECONDS = 1.0
# What passes: too many requests, a gateway without a service, a database that is away.
_PASSING = frozenset({429, 502, 503, 504})
# What would be said of every other file, too.
_OF_ALL = _PASSING | {401, 403}

Progress = Callable[[int, int], object]


class _Outcome(StrEnum):
    SENT = "sent"
    KNOWN = "known"


@dataclass
class Sent:
    """What became of a folder: samples that are new there, that were there before, and why each other was refused."""

    sent: int = 0
    known: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    label: str
    name: str


def send(client: httpx.Client, model: str, folder: Path, progress: Progress = lambda _done, _total: None) -> Sent:
    """Send a folder that holds a folder of files per label; `progress` is told files done and files in all.

    Sending it again goes on where it stopped. Raises CanariError where the folder is none, RefusedError where one may
    not send, httpx.TransportError where the platform stays away.
    """
    labels = list(checked(client.get(f"/api/{model}/samples"))["labels"])
    found, strange = labelled_files(folder, labels)
    files = [_File(path, label, path.relative_to(folder).as_posix()) for label, path in found]
    outcome = Sent(refused=strange)
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        for done, (file, result) in enumerate(_each(pool, client, model, files), start=1):
            if result is _Outcome.SENT:
                outcome.sent += 1
            elif result is _Outcome.KNOWN:
                outcome.known += 1
            else:
                outcome.refused.append((file.name, str(result)))
            progress(done, len(files))
    return outcome


def _each(
    pool: ThreadPoolExecutor, client: httpx.Client, model: str, files: list[_File]
) -> Iterable[tuple[_File, _Outcome | str]]:
    tasks = [(file, pool.submit(_send, client, model, file)) for file in files]
    try:
        for file, task in tasks:
            yield file, task.result()
    finally:
        for _, task in tasks:
            task.cancel()


def _send(client: httpx.Client, model: str, file: _File) -> _Outcome | str:
    """One file; returns why where the platform does not want it. Raises RefusedError, httpx.TransportError."""
    try:
        content = file.path.read_bytes()
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    known = _patiently(lambda: client.get(f"/api/{model}/samples/{hashlib.sha256(content).hexdigest()}"))
    if known.is_success:
        held = known.json()
        if held["label"] == file.label and held["origin"] == "team" and not held["synthetic"]:
            return _Outcome.KNOWN
    asked = {"label": file.label, "source": file.name[:500]}
    answer = _patiently(lambda: client.post(f"/api/{model}/samples", params=asked, content=content))
    try:
        checked(answer)
    except RefusedError as error:
        if error.status in _OF_ALL:
            raise
        return str(error)
    return _Outcome.SENT if answer.status_code == httpx.codes.CREATED else _Outcome.KNOWN


def _patiently(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """An answer, asked for again while what is in the way may pass."""
    for attempt in range(1, _TRIES + 1):
        try:
            answer = ask()
        except httpx.TransportError:
            if attempt == _TRIES:
                raise
        else:
            if answer.status_code not in _PASSING or attempt == _TRIES:
                return answer
        time.sleep(_WAIT_SECONDS * 2 ** (attempt - 1))
    raise AssertionError
