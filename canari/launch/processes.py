"""A supervisor of processes that outlives itself: what a killed supervisor started, the next one finds and keeps.

Each process writes its own pid file before it becomes its program (`sh -c 'echo $$ > file; exec ...'`), so there is no
moment at which a started process is unknown. A pid file is believed only if the process is at least as old as the file:
a reused pid is not.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from canari.launch.launcher import State

_BACKOFF_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_STABLE_SECONDS = 30.0
_LOG_BYTES = 20 * 2**20
_WRAPPER = 'printf "%s %s" "$$" "$1" > "$2.new" && mv "$2.new" "$2"; shift 2; exec "$@"'


@dataclass(frozen=True)
class Program:
    """What to run. `secrets` are environment variables that may differ at each start without being a change.

    `ready` answers quickly whether the process can do its work; `start_seconds` bounds how long that may take at first.
    `user` runs it as another account (root only).
    """

    name: str
    argv: tuple[str, ...]
    ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    grace_seconds: float = 15.0
    start_seconds: float = 120.0

    @property
    def fingerprint(self) -> str:
        """Changes when the program must be started anew to be what it should be; tells also how it is ended."""
        parts = (self.argv, sorted(self.environment.items()), str(self.folder), self.user)
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
        return f"{digest}:{int(self.stop_signal)}:{self.grace_seconds:g}"


@dataclass
class _Entry:
    program: Program
    process: psutil.Process | None = None
    child: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    was_ready: bool = False
    failures: int = 0
    retry_at: float = 0.0


class Supervisor:
    """Keeps programs running. `pids` holds their pid files, `logs` what they print."""

    def __init__(self, pids: Path, logs: Path) -> None:
        self._pids = pids
        self._logs = logs
        self._entries: dict[str, _Entry] = {}

    def ensure(self, program: Program) -> State:
        """Start `program` unless it runs, restart it if it has changed; never waits. Returns where it stands."""
        entry = self._entries.get(program.name)
        if entry is None:
            entry = self._entries[program.name] = _Entry(program)
            self._adopt(entry)
        if entry.program.fingerprint != program.fingerprint and self._alive(entry):
            self.stop([program.name])
            entry = self._entries[program.name] = _Entry(program)
        entry.program = program
        now = time.monotonic()
        if not self._alive(entry):
            if entry.process is not None:
                self._note_death(entry, now)
            if now < entry.retry_at:
                return State.BACKOFF
            self._start(entry, now)
            return State.STARTING
        return self._readiness(entry, now)

    def pid(self, name: str) -> int | None:
        """The process id of a running program."""
        entry = self._entries.get(name)
        return entry.process.pid if entry and entry.process and self._alive(entry) else None

    def adopted(self, name: str) -> int | None:
        """The process id of a program that an earlier supervisor left running."""
        found = self._orphan(name)
        return found.process.pid if found and found.process and self._alive(found) else None

    def known(self) -> set[str]:
        """Every program that runs or ran, also those that an earlier supervisor left behind."""
        return set(self._entries) | {file.stem for file in self._pids.glob("*.pid")}

    def restarts(self, name: str) -> int:
        """How often a program has died lately."""
        entry = self._entries.get(name)
        return entry.failures if entry else 0

    def forget_ended(self, name: str) -> bool:
        """Drop a program that has ended by itself, so that it is not started again; False while it lives."""
        entry = self._entries.get(name) or self._orphan(name)
        if entry is not None and self._alive(entry):
            return False
        self._entries.pop(name, None)
        self._pid_file(name).unlink(missing_ok=True)
        return True

    def stop(self, names: Iterable[str]) -> None:
        """End programs, all at once: first asked, then, after each one's grace, killed."""
        ending: list[tuple[_Entry, float]] = []
        for name in names:
            entry = self._entries.pop(name, None) or self._orphan(name)
            if entry is not None and self._alive(entry) and entry.process is not None:
                with contextlib.suppress(psutil.NoSuchProcess):
                    entry.process.send_signal(entry.program.stop_signal)
                ending.append((entry, time.monotonic() + entry.program.grace_seconds))
            else:
                self._pid_file(name).unlink(missing_ok=True)
        for entry, deadline in ending:
            while self._alive(entry) and time.monotonic() < deadline:
                time.sleep(0.02)
            self._kill_group(entry)
            self._pid_file(entry.program.name).unlink(missing_ok=True)

    def _readiness(self, entry: _Entry, now: float) -> State:
        if entry.program.ready():
            entry.was_ready = True
            if now - entry.started_at > _STABLE_SECONDS:
                entry.failures = 0
            return State.READY
        if not entry.was_ready and now - entry.started_at > entry.program.start_seconds:
            self._kill_group(entry)
        return State.STARTING

    def _start(self, entry: _Entry, now: float) -> None:
        program = entry.program
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("CANARI_", "PG"))}
        log = self._logs / f"{program.name}.log"
        if log.exists() and log.stat().st_size > _LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        pid_file = self._pid_file(program.name)
        pid_file.unlink(missing_ok=True)
        with log.open("ab") as output:
            entry.child = subprocess.Popen(
                ["/bin/sh", "-c", _WRAPPER, "sh", program.fingerprint, str(pid_file), *self._as_user(program)],
                env={**inherited, **program.environment, **program.secrets},
                cwd=program.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        entry.process = psutil.Process(entry.child.pid)
        entry.started_at = now
        entry.was_ready = False

    @staticmethod
    def _as_user(program: Program) -> tuple[str, ...]:
        if program.user is None:
            return program.argv
        return ("setpriv", f"--reuid={program.user}", f"--regid={program.user}", "--init-groups", "--", *program.argv)

    def _adopt(self, entry: _Entry) -> None:
        found = self._orphan(entry.program.name)
        if found is None or found.process is None:
            return
        _, fingerprint = self._pid_file(entry.program.name).read_text().split()
        if fingerprint == entry.program.fingerprint:
            entry.process = found.process
            entry.started_at = time.monotonic()
        else:
            self.stop([entry.program.name])
            self._entries[entry.program.name] = entry

    def _orphan(self, name: str) -> _Entry | None:
        file = self._pid_file(name)
        try:
            pid, fingerprint = file.read_text().split()
            _, ending, grace = fingerprint.split(":")
            process = psutil.Process(int(pid))
            if process.create_time() > file.stat().st_mtime + 1:
                return None
        except (OSError, ValueError, psutil.NoSuchProcess):
            return None
        program = Program(
            name=name,
            argv=(),
            ready=lambda: True,
            stop_signal=signal.Signals(int(ending)),
            grace_seconds=float(grace),
        )
        return _Entry(program, process=process)

    @staticmethod
    def _alive(entry: _Entry) -> bool:
        if entry.child is not None:
            return entry.child.poll() is None
        if entry.process is None:
            return False
        try:
            return entry.process.is_running() and entry.process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def _note_death(self, entry: _Entry, now: float) -> None:
        # Its own children (a database's workers, say) must not outlive it into the next start.
        self._kill_group(entry)
        entry.retry_at = now + _BACKOFF_SECONDS[min(entry.failures, len(_BACKOFF_SECONDS) - 1)]
        entry.failures += 1
        entry.process = entry.child = None

    @staticmethod
    def _kill_group(entry: _Entry) -> None:
        if entry.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(entry.process.pid, signal.SIGKILL)
        if entry.child is not None:
            entry.child.wait()

    def _pid_file(self, name: str) -> Path:
        return self._pids / f"{name}.pid"


def stopping_order(names: Iterable[str]) -> list[list[str]]:
    """The platform's programs in the order they are ended: what takes requests in first, the database last."""
    stages = ("envoy", "fetcher", "bento-", "train-", "job-", "portal", "feedback")
    known = sorted(names)
    groups = [[n for n in known if n.startswith(stage)] for stage in stages]
    return [*groups, [n for n in known if not n.startswith(stages)]]
