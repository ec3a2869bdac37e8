"""Acceptance tests measure: each figure is printed beside its bar, and the last line sums up."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field

import pytest

FULL = os.environ.get("CANARI_ACCEPTANCE_SCALE", "full") == "full"


@dataclass
class Figures:
    """What was measured so far."""

    lines: list[tuple[bool, str]] = field(default_factory=list)

    def at_least(self, what: str, value: float, bar: float, form: str = ".2f") -> None:
        """`value` must reach `bar`."""
        self._add(value >= bar, f"{what}: {value:{form}} (at least {bar:{form}})")

    def at_most(self, what: str, value: float, bar: float, form: str = ".1f") -> None:
        """`value` may not exceed `bar`."""
        self._add(value <= bar, f"{what}: {value:{form}} (at most {bar:{form}})")

    def within(self, what: str, value: float, low: float, high: float) -> None:
        """`value` must lie between the bars."""
        self._add(low <= value <= high, f"{what}: {value:g} (from {low:g} to {high:g})")

    def true(self, what: str, *, holds: bool) -> None:
        """Something must hold."""
        self._add(holds, what)

    def note(self, what: str) -> None:
        """Say something that has no bar."""
        sys.stdout.write(f"      {what}\n")
        sys.stdout.flush()

    def _add(self, holds: bool, line: str) -> None:
        self.lines.append((holds, line))
        sys.stdout.write(f"{'ok   ' if holds else 'UNDER'} {line}\n")
        sys.stdout.flush()
        assert holds, line


_FIGURES = Figures()


@pytest.fixture(scope="session")
def figures() -> Figures:
    """The figures of the whole run."""
    scale = "the full scale" if FULL else "CI's smaller scale (CANARI_ACCEPTANCE_SCALE=full for the full one)"
    sys.stdout.write(f"\nMeasuring at {scale}\n")
    return _FIGURES


def pytest_unconfigure() -> None:
    """Sum up, after everything else that is printed."""
    if _FIGURES.lines:
        held = sum(holds for holds, _ in _FIGURES.lines)
        missed = [line for holds, line in _FIGURES.lines if not holds]
        end = "all hold" if not missed else f"missed: {'; '.join(missed)}"
        sys.stdout.write(f"acceptance: {held} of {len(_FIGURES.lines)} figures hold, {end}\n")
