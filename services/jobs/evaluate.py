"""How live versions do: predictions, losses, votes and late labels over a window, one row per version and run."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import TypeAdapter, ValidationError
from rich.table import Table
from sqlalchemy import Engine

from canari.errors import CanariError
from canari.spec import Duration
from canari.store import evaluations, rollouts
from canari.store.evaluations import LiveEvaluation

_DURATION: TypeAdapter[Duration] = TypeAdapter(Duration)
_SHOWN_ANSWERS = 3


def window(since: str, until: str | None, now: datetime) -> tuple[datetime, datetime]:
    """The window's beginning and end (aware, UTC), to the second.

    `until` is a moment in ISO 8601, by default `now`; `since` is one too, or how long before the end: `24h`, `7d`.
    Raises CanariError.
    """
    end = _moment(until) if until else now
    try:
        begin = end - _DURATION.validate_python(since)
    except ValidationError:
        begin = _moment(since)
    if not begin < end:
        raise CanariError(f"the window ends at {end:%Y-%m-%d %H:%M} and would begin at {begin:%Y-%m-%d %H:%M}")
    return begin.replace(microsecond=0), end.replace(microsecond=0)


def evaluate(
    engine: Engine, since: datetime, until: datetime, *, model: str | None = None, dry_run: bool = False
) -> list[LiveEvaluation]:
    """Measure each model's stable version and its canary, or one model's, and keep the figures unless `dry_run`.

    Raises CanariError where there is no such model.
    """
    desired = rollouts.desired(engine)
    if model is not None and model not in desired:
        raise CanariError(f"there is no model {model!r}; the models are: {', '.join(desired) or 'none yet'}")
    measured = [
        evaluations.measure(engine, name, version, since, until)
        for name, wanted in desired.items()
        if model in {None, name}
        for version in wanted.versions
    ]
    if not dry_run:
        for one in measured:
            evaluations.keep(engine, one)
    return measured


def as_table(measured: list[LiveEvaluation]) -> Table:
    """The figures for people."""
    found = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("MODEL", "VERSION", "PREDICTIONS", "REFUSED", "LOST", "VOTES", "SATISFIED", "LABELS", "RIGHT"):
        found.add_column(column)
    found.add_column("ANSWERS")
    for one in measured:
        answers = ", ".join(f"{label} {share:.0%}" for label, share in [*one.answer_shares.items()][:_SHOWN_ANSWERS])
        votes, labels = f"{one.voted} ({_percent(one.participation)})", str(one.labelled)
        cells = (one.model, one.version, one.predictions, one.refused, one.lost, votes, _percent(one.satisfaction))
        found.add_row(*map(str, cells), labels, _percent(one.accuracy), answers or "–")
    return found


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise CanariError(
            f"{text!r} is neither a duration such as 24h or 7d nor a moment such as 2026-01-31T06:00:00Z"
        ) from None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"
