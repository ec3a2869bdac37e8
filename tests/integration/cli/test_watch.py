"""Watching a rollout, and judging it again, at a terminal and without one."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from canari.cli import app
from canari.errors import CanariError
from canari.observations import Fault, FaultKind
from canari.policy import Verdict
from canari.spec_file import load_spec
from canari.store import rollouts, versions
from tests.conftest import ROOT, Database
from tests.integration.played import BAD, GOOD, GOOD_HALF, MODEL, Played

HOLE = Fault(FaultKind.UNANSWERED, "proxy p did not answer")


class Canari:
    """`canari rollout ...` in this process, without a terminal."""

    def __init__(self, data: Path, database: Database) -> None:
        self.data = data
        self._variables = {"CANARI_DATABASE_URL": database.owner_url, "COLUMNS": "200"}

    def __call__(self, *arguments: str, status: int = 0) -> str:
        done = CliRunner(env=self._variables).invoke(app, ["rollout", *arguments, "--data-dir", str(self.data)])
        if isinstance(done.exception, CanariError):
            assert status == 1, done.exception
            return str(done.exception)
        assert done.exit_code == status, done.output
        return done.stdout


@pytest.fixture
def canari(tmp_path: Path, swept_database: Database) -> Canari:
    return Canari(tmp_path / "data", swept_database)


@pytest.fixture
def played(swept_database: Database) -> Played:
    return Played(swept_database.engine)


def test_once_it_tells_a_line_or_an_object_and_how_it_ended(canari: Canari, played: Played) -> None:
    played.look(**GOOD)
    assert f"rollout {played.number}  open  step 1 of 2  20 %  hold  " in canari("watch", MODEL, "--once")
    played.until(Verdict.ROLL_BACK, **BAD)
    [line] = canari("watch", MODEL, str(played.number), status=3).splitlines()
    assert "rolled back" in line
    assert "errors: " in line
    found = json.loads(canari("watch", MODEL, "--json", status=3))
    assert (found["model"], found["rollout"]["state"], found["judgement"]["verdict"]) == (
        MODEL,
        "rolled_back",
        "roll_back",
    )
    assert found["metrics"][0]["newest"]["at"] == played.now
    assert "points" not in found["metrics"][0]


def test_without_a_number_it_is_the_open_one_else_the_newest(canari: Canari, played: Played) -> None:
    def watched(status: int = 0) -> int:
        return int(json.loads(canari("watch", MODEL, "--once", "--json", status=status))["rollout"]["id"])

    rollouts.abort(played.engine, MODEL, actor="ada", reason="over")
    assert watched(status=4) == played.number
    assert canari("watch", MODEL, "--once", status=4).rstrip().endswith("aborted  step 1 of 2  0 %")
    opened = rollouts.propose(played.engine, MODEL, 2, actor="ada", reason="again")
    assert watched() == opened.id
    rollouts.promote(played.engine, MODEL, actor="ada", reason="it is good")
    assert watched() == opened.id
    for act in ("watch", "list"):
        assert "no model 'cats_dogs' here; those there are: drift" in canari(act, "cats_dogs", status=1)
    versions.allot(played.engine, load_spec(ROOT / "bentos" / "cats_dogs"), manifest_digest="m", synthetic=True)
    assert "no rollout yet" in canari("watch", "cats_dogs", status=1)
    assert f"drift has no rollout {opened.id + 1}" in canari("watch", MODEL, str(opened.id + 1), status=1).replace(
        "there is no rollout", "drift has no rollout"
    )


def test_without_a_terminal_each_change_is_a_line_until_it_is_settled(canari: Canari, played: Played) -> None:
    def play() -> None:
        for faults in ((), (), (HOLE,), (HOLE,)):
            played.look(*faults, errors=(16, 0, 4, 0))
            time.sleep(0.8)
        played.until(Verdict.ADVANCE, **GOOD)
        time.sleep(0.8)
        played.until(Verdict.PROMOTE, **GOOD_HALF)

    playing = threading.Thread(target=play)
    playing.start()
    lines = canari("watch", MODEL, "--interval", "0.5").splitlines()
    playing.join()
    told = [line.split("  ", 2)[2].split("  ")[:4] for line in lines]
    assert ["open", "step 1 of 2", "20 %", "hold"] in told
    assert told[-1] == ["promoted", "step 2 of 2", "100 %", "promote"]
    assert sum("proxy p did not answer" in line for line in lines) == 1
    assert len(lines) <= 7


@contextmanager
def terminal(database: Database, data: Path, *arguments: str, size: tuple[int, int] = (100, 30)) -> Iterator[Any]:
    """`canari rollout ...` at a terminal of that many columns and rows."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    variables = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
    process = subprocess.Popen(
        [sys.executable, "-m", "canari.cli", "rollout", *arguments, "--data-dir", str(data)],
        cwd=ROOT,
        env={**variables, "CANARI_DATABASE_URL": database.owner_url, "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - so that Ctrl-C reaches it
    )
    os.close(theirs)
    screen = Screen(process, ours)
    try:
        yield screen
    finally:
        process.kill()
        process.wait()
        screen.reading.join()
        os.close(ours)


class Screen:
    """What a terminal was sent so far."""

    def __init__(self, process: subprocess.Popen[bytes], file: int) -> None:
        self.process, self.file, self.sent = process, file, b""
        self.reading = threading.Thread(target=self._read)
        self.reading.start()

    def _read(self) -> None:
        while True:
            try:
                more = os.read(self.file, 65536)
            except OSError:
                return
            if not more:
                return
            self.sent += more

    def until(self, words: str, seconds: float = 30) -> None:
        """Wait until it was sent these words."""
        deadline = time.monotonic() + seconds
        while words not in self.sent.decode(errors="replace"):
            assert time.monotonic() < deadline, self.sent.decode(errors="replace")
            time.sleep(0.05)


def test_at_a_terminal_it_draws_until_the_rollout_is_settled(
    played: Played, swept_database: Database, tmp_path: Path
) -> None:
    for _ in range(3):
        played.look(errors=(16, 0, 4, 0))
    with terminal(swept_database, tmp_path, "watch", MODEL, "--interval", "0.5") as screen:
        screen.until("canary − stable")
        screen.until("\x1b[?1049h")
        played.until(Verdict.ROLL_BACK, **BAD)
        assert screen.process.wait(30) == 3
        screen.reading.join(5)
        left = screen.sent.decode().split("\x1b[?1049l")[-1]
    assert "rolled back" in left
    assert "errors" in left
    assert "█" in left


def test_ctrl_c_leaves_the_rollout_alone(played: Played, swept_database: Database, tmp_path: Path) -> None:
    played.look(**GOOD)
    with terminal(swept_database, tmp_path, "watch", MODEL, size=(80, 24)) as screen:
        screen.until("canary − stable")
        os.write(screen.file, b"\x03")
        assert screen.process.wait(30) == 130
        screen.reading.join(5)
        assert "Traceback" not in screen.sent.decode()
    assert rollouts.desired(played.engine)[MODEL].rollout is not None


def test_a_rollout_is_judged_again_by_its_number(canari: Canari, played: Played) -> None:
    played.until(Verdict.ROLL_BACK, **BAD)
    number = str(played.number)
    found = json.loads(canari("replay", number, "--json"))
    assert (found["same"], [one["recomputed"] for one in found["compared"]]) == (True, [None, "roll_back"])
    assert "1 verdict judged again, the same." in canari("replay", MODEL, number)
    with played.engine.begin() as connection:
        connection.execute(text("UPDATE decisions SET verdict = jsonb_set(verdict, '{sentence}', '\"so be it\"')"))
    told = canari("replay", number, status=1)
    assert "not the same" in told
    assert "sentence: 'so be it' recorded" in told


def test_what_cannot_be_judged_again_is_told(canari: Canari, played: Played) -> None:
    assert "there is no rollout 999" in canari("replay", "999", status=1)
    assert "cats_dogs has no rollout" in canari("replay", "cats_dogs", str(played.number), status=1)
    assert "name one rollout by its number" in canari("replay", MODEL, status=1)
    assert "name the model too" in canari("replay", "7", "--url", "http://127.0.0.1:1", status=1)


def test_what_was_last_said_is_shown_with_the_rollout(canari: Canari, played: Played) -> None:
    played.until(Verdict.ROLL_BACK, **BAD)
    assert "roll back: errors: " in canari("show", MODEL, str(played.number))
    shown = json.loads(canari("show", MODEL, str(played.number), "--json"))
    assert shown["judgement"]["verdict"] == "roll_back"
