"""`canari up`: run the platform on this machine until told to stop."""

from __future__ import annotations

import argparse
import json
import signal
import socket
import sys
import time
from pathlib import Path
from threading import Event

from loguru import logger
from rich.console import Console

from canari.errors import CanariError
from canari.launch.databases import take_lock
from canari.settings import Settings
from services.controller.laptop import Laptop, write_report

_STARTING_SECONDS, _SETTLED_SECONDS = 0.2, 1.0


def main() -> int:
    """Run until SIGINT or SIGTERM; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m services.controller", description=__doc__)
    parser.add_argument("--no-demo", action="store_true", help="train no demonstration versions")
    parser.add_argument("--no-jobs", action="store_true", help="start no evaluation, retraining and retention")
    arguments = parser.parse_args()
    settings = Settings()
    console = Console(stderr=True, highlight=False)
    logger.remove()
    logger.add(sys.stderr, level=settings.log_level, format="{time:HH:mm:ss} {message}")
    try:
        return run(settings, console, demo=not arguments.no_demo, jobs=not arguments.no_jobs)
    except CanariError as error:
        console.print(f"[bold red]canari:[/] {error}")
        return 1


def run(settings: Settings, console: Console, *, demo: bool, jobs: bool) -> int:
    """Hold the data folder's lock, and step the platform until a signal comes."""
    settings.layout.create()
    lock = take_lock(settings.layout)
    if lock is None:
        console.print(f"Canari already runs on {settings.layout.root}: {_found(settings.layout.root)}")
        return 0
    with lock:
        laptop = Laptop(settings, demo=demo, jobs=jobs)
        if laptop.supervisor.adopted("envoy") is None:
            _refuse_busy_port(settings.host, settings.port)
        stop = Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        try:
            _watch(laptop, console, stop)
        finally:
            console.print("Stopping ...")
            laptop.stop()
            (settings.layout.root / "status.json").unlink(missing_ok=True)
        console.print("Stopped: nothing runs any more, and everything is kept.")
        return 0


def _watch(laptop: Laptop, console: Console, stop: Event) -> None:
    started = time.monotonic()
    told: list[str] | None = None
    with console.status("Starting ...") as spinner:
        while not stop.is_set():
            waiting = laptop.step()
            write_report(laptop.layout, laptop.report(waiting))
            spinner.update(f"Waiting for {'; '.join(waiting)}")
            names = [item.partition(" (")[0] for item in waiting]
            if names != told:
                _tell(console, laptop, names, time.monotonic() - started)
            told = names
            if waiting:
                spinner.start()
            else:
                spinner.stop()
            stop.wait(_STARTING_SECONDS if waiting or not laptop.in_force else _SETTLED_SECONDS)


def _tell(console: Console, laptop: Laptop, waiting: list[str], seconds: float) -> None:
    if not waiting:
        console.print(f"[bold]Canari is ready: {laptop.url}[/]  ({seconds:.1f} s)", soft_wrap=True)
        console.print(f"Ctrl-C ends it; what it holds stays in {laptop.layout.root}", soft_wrap=True)
    elif not console.is_terminal:
        console.print(f"{seconds:6.1f} s  waiting for {'; '.join(waiting)}", soft_wrap=True)


def _found(root: Path) -> str:
    try:
        return str(json.loads((root / "status.json").read_text())["url"])
    except (OSError, ValueError, KeyError):
        return "it is starting"


def _refuse_busy_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CanariError(
                f"port {port} of {host} is not free ({error.strerror}): end what uses it, or choose another with --port"
            ) from None


if __name__ == "__main__":
    sys.exit(main())
