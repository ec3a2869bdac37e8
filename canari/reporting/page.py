"""A report as one HTML file that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from canari import __version__

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure, large."""

    name: str
    value: str
    bad: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under columns; the places in `numbers` are set right, those in `codes` as ids."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[int] = frozenset()
    codes: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Part:
    """A section: what it shows, in words, and then the picture (inline SVG) or the table."""

    title: str
    lead: str
    picture: str | None = None
    table: Table | None = None
    sentences: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """A report. `told` is what people ought to know, the worst first; `notes` say what could not be measured."""

    kind: str
    title: str
    when: str
    headline: str
    told: Sequence[str] = ()
    tiles: Sequence[Tile] = ()
    parts: Sequence[Part] = ()
    notes: Sequence[str] = ()
    foot: str = field(
        default=f"Canari {__version__}. This file holds counts and ids alone: no input, no comment, nobody's name."
    )


def render(page: Page) -> str:
    """The page as HTML; what comes from outside is escaped, but for pictures, which are drawn here."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True)
    return environment.get_template("report.html").render(page=page)


def percent(share: float | None, digits: int = 0) -> str:
    """A share as people read it; a dash where there is none."""
    return "–" if share is None else f"{100 * share:.{digits}f} %"
