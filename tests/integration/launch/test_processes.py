"""The supervisor over real processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from canari.launch.launcher import State
from canari.launch.processes import Program, Supervisor, stopping_order


def program(
    tmp_path: Path, name: str = "sleeper", code: str = "import time; time.sleep(600)", **more: object
) -> Program:
    marker = tmp_path / f"{name}.ready"
    script = f"import os, pathlib; pathlib.Path({str(marker)!r}).write_text(str(os.getpid()))\n{code}"
    settings: dict[str, object] = {"grace_seconds": 3.0, **more}
    return Program(name=name, argv=(sys.executable, "-c", script), ready=marker.exists, **settings)  # type: ignore[arg-type]


def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not within time"
        time.sleep(0.02)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    for folder in ("pids", "logs"):
        (tmp_path / folder).mkdir()
    made = Supervisor(tmp_path / "pids", tmp_path / "logs")
    yield made
    made.stop(made.known())


def another(tmp_path: Path) -> Supervisor:
    return Supervisor(tmp_path / "pids", tmp_path / "logs")


def test_a_program_is_started_once_and_becomes_ready(supervisor: Supervisor, tmp_path: Path) -> None:
    one = program(tmp_path)
    assert supervisor.ensure(one) is State.STARTING
    until(lambda: supervisor.ensure(one) is State.READY)
    pid = supervisor.pid("sleeper")
    assert supervisor.ensure(one) is State.READY
    assert supervisor.pid("sleeper") == pid


def test_what_dies_is_started_again_with_growing_pauses(supervisor: Supervisor, tmp_path: Path) -> None:
    one = program(tmp_path, code="raise SystemExit(3)")
    until(lambda: supervisor.ensure(one) is State.BACKOFF)
    until(lambda: (supervisor.ensure(one), supervisor.restarts("sleeper"))[1] >= 3)
    assert supervisor.ensure(one) in {State.BACKOFF, State.STARTING}
    assert supervisor.pid("sleeper") is None or supervisor.restarts("sleeper") >= 3


def test_a_killed_process_comes_back(supervisor: Supervisor, tmp_path: Path) -> None:
    one = program(tmp_path)
    until(lambda: supervisor.ensure(one) is State.READY)
    first = supervisor.pid("sleeper")
    assert first is not None
    os.kill(first, signal.SIGKILL)
    until(lambda: supervisor.ensure(one) is State.READY and supervisor.pid("sleeper") not in {None, first})


def test_a_new_supervisor_adopts_what_an_earlier_one_left(supervisor: Supervisor, tmp_path: Path) -> None:
    one = program(tmp_path)
    until(lambda: supervisor.ensure(one) is State.READY)
    pid = supervisor.pid("sleeper")
    second = another(tmp_path)
    assert second.known() == {"sleeper"}
    assert second.adopted("sleeper") == pid
    assert second.ensure(one) is State.READY
    assert second.pid("sleeper") == pid
    second.stop(["sleeper"])
    until(lambda: supervisor.pid("sleeper") is None)


def test_a_changed_program_is_started_anew_and_a_new_secret_is_no_change(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    one = program(tmp_path, secrets={"TOKEN": "a"})
    until(lambda: supervisor.ensure(one) is State.READY)
    pid = supervisor.pid("sleeper")
    assert supervisor.ensure(program(tmp_path, secrets={"TOKEN": "b"})) is State.READY
    assert supervisor.pid("sleeper") == pid
    changed = program(tmp_path, environment={"A": "1"})
    supervisor.ensure(changed)
    until(lambda: supervisor.ensure(changed) is State.READY)
    assert supervisor.pid("sleeper") != pid
    other = program(tmp_path, environment={"A": "2"})
    second = another(tmp_path)
    second.ensure(other)
    until(lambda: second.ensure(other) is State.READY)
    assert second.known() == {"sleeper"}
    second.stop(["sleeper"])


def test_a_pid_that_another_process_took_is_not_adopted(supervisor: Supervisor, tmp_path: Path) -> None:
    file = tmp_path / "pids" / "sleeper.pid"
    file.write_text(f"{os.getpid()} {program(tmp_path).fingerprint}")
    started = psutil.Process().create_time()
    os.utime(file, (started - 100, started - 100))
    assert supervisor.adopted("sleeper") is None
    file.write_text("not a pid file")
    assert supervisor.adopted("sleeper") is None


def test_stopping_asks_first_and_kills_after_the_grace(supervisor: Supervisor, tmp_path: Path) -> None:
    deaf = program(tmp_path, code="import signal, time\nsignal.signal(15, signal.SIG_IGN)\nwhile True: time.sleep(1)")
    deaf = Program(**{**deaf.__dict__, "grace_seconds": 0.5})
    until(lambda: supervisor.ensure(deaf) is State.READY)
    pid = supervisor.pid("sleeper")
    assert pid is not None
    time.sleep(0.2)
    began = time.monotonic()
    supervisor.stop(["sleeper"])
    assert 0.4 < time.monotonic() - began < 5
    assert not psutil.pid_exists(pid)
    assert supervisor.known() == set()


def test_a_program_that_never_gets_ready_is_started_again(supervisor: Supervisor) -> None:
    stuck = Program("stuck", (sys.executable, "-c", "import time; time.sleep(600)"), lambda: False, start_seconds=0.3)
    until(lambda: (supervisor.ensure(stuck), supervisor.restarts("stuck"))[1] >= 1)


def test_the_environment_is_the_programs_own(supervisor: Supervisor, tmp_path: Path) -> None:
    os.environ["CANARI_SECRET_OF_OURS"] = "x"
    try:
        code = "print('seen', {k: v for k, v in os.environ.items() if k.startswith('CANARI_')}, flush=True)"
        one = program(tmp_path, code=code + "\nimport time; time.sleep(600)", environment={"CANARI_A": "1"})
        until(lambda: supervisor.ensure(one) is State.READY)
        log = tmp_path / "logs" / "sleeper.log"
        until(lambda: "seen" in log.read_text())
        assert "seen {'CANARI_A': '1'}" in log.read_text()
    finally:
        del os.environ["CANARI_SECRET_OF_OURS"]


def test_a_long_log_is_turned_over_at_the_next_start(supervisor: Supervisor, tmp_path: Path) -> None:
    log = tmp_path / "logs" / "sleeper.log"
    log.write_bytes(b"x" * (20 * 2**20 + 1))
    supervisor.ensure(program(tmp_path))
    assert (tmp_path / "logs" / "sleeper.log.1").exists()
    assert log.stat().st_size < 1000


def test_what_takes_requests_ends_first_and_the_database_last() -> None:
    names = ["postgres", "feedback", "bento-drift-1", "envoy", "job-retrain", "portal", "train-drift", "fetcher"]
    assert stopping_order(names) == [
        ["envoy"],
        ["fetcher"],
        ["bento-drift-1"],
        ["train-drift"],
        ["job-retrain"],
        ["portal"],
        ["feedback"],
        ["postgres"],
    ]
