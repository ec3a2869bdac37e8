"""How a job says where it is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

Report = Callable[[str, int, int, Mapping[str, float]], None]

_LINE_SECONDS = 5.0


@contextmanager
def reporting() -> Iterator[Report]:
    """A report to standard error, so that standard output holds the result alone."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield Lines(lambda line: sys.stderr.write(f"{line}\n"))
        return
    columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[figures]}"), console=console) as progress:
        yield _Bars(progress)


class Lines:
    """A line at each stage's beginning and end, and every few seconds between."""

    def __init__(self, write: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._stage = ""
        self._written = 0.0

    def __call__(self, stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        """Say that `stage` has done so much of it."""
        now = self._clock()
        if stage == self._stage and done < total and now - self._written < _LINE_SECONDS:
            return
        self._stage, self._written = stage, now
        self._write(f"{stage} {done}/{total} {_text(figures)}".rstrip())


class _Bars:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, figures="")
        self._progress.update(self._tasks[stage], completed=done, total=total, figures=_text(figures))


def _text(figures: Mapping[str, float]) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in figures.items())
