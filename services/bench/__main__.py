"""``python -m services.bench``: every server in turn, round after round, and what that says as ratios."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from canari.errors import CanariError
from canari.family import find_family
from canari.settings import Settings
from services.bench import photos
from services.bench.fleet import Fleet
from services.bench.load import Turn
from services.bench.report import TITLES, as_text, machine, summarise

MODEL = "cats_dogs"
SERVERS = ("naive", "threads", "bentoml", "canari", "limit")
RECORDER = ("recorded", "unrecorded")
_PHOTOS = 16


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the report; 1 with one line on standard error where a server cannot be measured."""
    options = _parser().parse_args(arguments)
    console = Console(stderr=True, highlight=False)
    try:
        turns = _measure(options, console)
    except CanariError as error:
        console.print(f"[bold red]canari:[/] {error}")
        return 1
    report = {
        "machine": machine(),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "concurrency": options.concurrency,
        **summarise(turns),
    }
    sys.stdout.write((json.dumps(report, indent=2) if options.json else as_text(report)) + "\n")
    return 0


def _measure(options: argparse.Namespace, console: Console) -> dict[str, list[Turn]]:
    names = RECORDER if options.recorder_cost else options.only or SERVERS
    family = find_family(Settings().families_dir, MODEL)
    turns: dict[str, list[Turn]] = {name: [] for name in names}
    with (
        tempfile.TemporaryDirectory(prefix="canari-bench-", ignore_cleanup_errors=True) as folder,
        console.status("Drawing photos") as status,
        Fleet(family, photos.draw(family, _PHOTOS), Path(folder), status.update) as fleet,
    ):
        drivers = {name: fleet.start(name) for name in names}
        for number in range(1, options.rounds + 1):
            for name, driver in drivers.items():
                status.update(f"Round {number} of {options.rounds}: {TITLES[name]}")
                turn = driver.run(options.seconds, options.concurrency)
                turns[name].append(turn)
                console.print(f"round {number}  {TITLES[name]:31} {turn.rate:7.1f} requests/s")
        status.update("Stopping")
    return turns


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=8, help="each server's turn in a round (default: %(default)s)")
    parser.add_argument("--concurrency", type=int, default=8, help="requests under way at once (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--only", action="append", choices=SERVERS, help="this server alone; several times for several")
    which.add_argument(
        "--recorder-cost", action="store_true", help="one version with and without its recorder, past the gateway"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
