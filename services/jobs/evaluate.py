"""How live versions do over a window: users' votes and labels, the evaluation set, drift; a row per version and run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from loguru import logger
from pydantic import TypeAdapter, ValidationError
from rich.table import Table
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from canari.archives import archives
from canari.drift import Drift, assess
from canari.errors import CanariError
from canari.evaluation import Bin, calibration_error
from canari.registry import Registry
from canari.reporting import live as reporting
from canari.reporting.charts import Votes
from canari.reporting.live import Live
from canari.settings import Settings
from canari.spec import ModelSpec
from canari.spec_parts import Duration
from canari.stats import wilson
from canari.store import evaluations, hours, references, rollouts, versions
from canari.store.evaluations import Labelled, LiveEvaluation
from services.jobs import reports
from services.jobs.lineage import lineage_url
from services.jobs.progress import Report
from services.jobs.scoring import Scorer, Tell, evaluation_set

_DURATION: TypeAdapter[Duration] = TypeAdapter(Duration)
_SHOWN_ANSWERS = 3
_SHOWN_PAST = timedelta(days=7)


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


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A live version's figures; what people ought to know of it, and what could not be measured, each a sentence."""

    figures: LiveEvaluation
    troubles: tuple[str, ...]
    notes: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {**self.figures.document(), "troubles": list(self.troubles), "notes": list(self.notes)}


def evaluate(
    engine: Engine,
    settings: Settings,
    since: datetime,
    until: datetime,
    *,
    model: str | None = None,
    dry_run: bool = False,
    report: Report = lambda *_: None,
) -> list[Evaluated]:
    """Measure each model's stable version and its canary, or one model's; keep figures and report unless `dry_run`.

    What cannot be measured is told, and keeps nothing else from it. Raises CanariError where there is no such model.
    """
    desired = rollouts.desired(engine)
    if model is not None and model not in desired:
        raise CanariError(f"there is no model {model!r}; the models are: {', '.join(desired) or 'none yet'}")
    evaluator = Evaluator(engine, settings, since, until, report)
    live = [(name, n) for name, wanted in desired.items() if model in {None, name} for n in wanted.versions]
    found = []
    for done, (name, version) in enumerate(live):
        report("evaluate", done, len(live), {})
        found.append(evaluator.evaluate(name, version, dry_run=dry_run))
    report("evaluate", len(live), len(live), {})
    return found


class Evaluator:
    """Measures live versions in one window of time."""

    def __init__(self, engine: Engine, settings: Settings, since: datetime, until: datetime, report: Report) -> None:
        self._engine = engine
        self._layout = settings.layout
        self._window = since, until
        self._report = report
        kept = archives(settings.archives_url, self._layout.archives)
        self._scorer = Scorer(engine, kept, self._layout, settings.families_dir)
        self._specs = versions.live_specs(engine)
        self._before = evaluations.latest(engine)
        self._registry = Registry(lineage_url(settings), self._layout.mlflow)

    def evaluate(self, model: str, number: int, *, dry_run: bool) -> Evaluated:
        """One version: its figures, kept with a report unless `dry_run`."""
        notes: list[str] = []
        spec = self._specs[model]
        figures = evaluations.measure(self._engine, model, number, *self._window)
        said = evaluations.labelled(self._engine, model, number, *self._window)
        bins = label_bins(said)
        drift = self._drift(spec, number, notes.append)
        figures = replace(
            figures,
            held_out=self._held_out(model, number, notes.append),
            calibration_error=round(calibration_error(bins), 6) if bins else None,
            drift=None if drift is None or drift.reason else drift.document(),
        )
        evaluated = Evaluated(figures, tuple(troubles(spec, figures, drift)), tuple(notes))
        for sentence in evaluated.troubles:
            logger.warning("{} {}: {}", model, number, sentence)
        if dry_run:
            return evaluated
        evaluated = self._reported(spec, evaluated, said, bins, drift)
        evaluations.keep(self._engine, evaluated.figures)
        return evaluated

    def _held_out(self, model: str, number: int, tell: Tell) -> dict[str, Any] | None:
        before = self._before.get((model, number))
        try:
            version = versions.version(self._engine, model, number)
            chosen = evaluation_set(self._engine, model)
            return self._scorer.held_out(version, chosen, before.held_out if before else None, self._report, tell)
        except SQLAlchemyError:
            raise
        except Exception as error:  # noqa: BLE001 - a version that cannot be asked is told, and the next one is measured
            if not isinstance(error, CanariError):
                logger.opt(exception=error).warning("{} {} cannot be asked", model, number)
            tell(f"there is no accuracy on an evaluation set: {error or type(error).__name__}")
            return None

    def _drift(self, spec: ModelSpec, number: int, tell: Tell) -> Drift | None:
        reference = references.read(self._engine, spec.name, number)
        if reference is None:
            tell("there is no drift: the version was made without a reference of its inputs; train it again")
            return None
        seen = references.seen(self._engine, spec.name, number, reference, *self._window)
        return assess(reference, seen.counts, seen.answers, threshold=spec.triggers.drift)

    def _reported(
        self, spec: ModelSpec, evaluated: Evaluated, said: Sequence[Labelled], bins: Sequence[Bin], drift: Drift | None
    ) -> Evaluated:
        since, until = self._window
        number = evaluated.figures.version
        past = hours.history(self._engine, spec.name, min(since, until - _SHOWN_PAST))
        live = Live(
            spec=spec,
            version=number,
            since=since,
            until=until,
            figures=evaluated.figures.document(),
            hours=[Votes(h.version, h.hour, h.predictions, h.voted, h.satisfied) for h in past if h.hour < until],
            labelled=[reporting.Labelled(one.answer, one.truth, one.n) for one in said],
            label_bins=bins,
            drift=drift,
            troubles=evaluated.troubles,
            notes=evaluated.notes,
        )
        name = f"{spec.name}/{number}/evaluation-{until:%Y%m%dT%H%M%SZ}.html"
        try:
            file = reports.keep(self._layout.reports, name, reporting.report(live))
        except Exception as error:  # noqa: BLE001 - the figures are kept, whatever becomes of their picture
            logger.opt(exception=error).warning("the report of {} {} cannot be written", spec.name, number)
            return replace(evaluated, notes=(*evaluated.notes, f"the report cannot be written: {error}"))
        self._registry.attach(spec.name, number, "live/evaluation.html", file)
        return replace(evaluated, figures=replace(evaluated.figures, report=name))


def label_bins(said: Sequence[Labelled]) -> tuple[Bin, ...]:
    """How certain the answers were whose truth people named, and how often right, by tenths of certainty."""
    found = []
    for tenth in sorted({one.tenth for one in said}):
        inside = [one for one in said if one.tenth == tenth]
        count = sum(one.n for one in inside)
        certainty = sum(one.certainty for one in inside) / count
        right = sum(one.n for one in inside if one.answer == one.truth)
        found.append(Bin(tenth / 10, (tenth + 1) / 10, count, certainty, right / count))
    return tuple(found)


def troubles(spec: ModelSpec, figures: LiveEvaluation, drift: Drift | None) -> Iterator[str]:
    """What people ought to know of a version, the worst first."""
    threshold = spec.least_accuracy
    held_out = figures.held_out
    if held_out is not None and held_out["accuracy"] < threshold:
        yield (
            f"{held_out['accuracy']:.1%} of {held_out['count']:,} samples of the evaluation set are right, under "
            f"{threshold:.0%}"
        )
    # A few labels may all be wrong by chance: they count once no accuracy over the threshold would explain them.
    if figures.labelled and wilson(figures.correct, figures.labelled)[1] < threshold:
        yield f"{figures.accuracy:.1%} of {figures.labelled:,} late labels are right, under {threshold:.0%}"
    unhappy = spec.triggers.satisfaction
    if unhappy and figures.voted and figures.satisfaction is not None and figures.participation is not None:
        high = wilson(figures.satisfied, figures.voted)[1]
        if high < unhappy.below and figures.participation > unhappy.participation:
            yield f"{figures.satisfaction:.0%} of {figures.voted:,} votes say right, under {unhappy.below:.0%}"
    if drift is not None and drift.flagged:
        yield from drift.sentences


def as_table(measured: Sequence[Evaluated]) -> Table:
    """The figures for people."""
    found = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("MODEL", "VERSION", "PREDICTIONS", "REFUSED", "LOST", "VOTES", "SATISFIED", "LABELS", "RIGHT"):
        found.add_column(column)
    found.add_column("HELD OUT")
    found.add_column("DRIFT")
    found.add_column("ANSWERS")
    for evaluated in measured:
        one = evaluated.figures
        answers = ", ".join(f"{label} {share:.0%}" for label, share in [*one.answer_shares.items()][:_SHOWN_ANSWERS])
        votes, labels = f"{one.voted} ({_percent(one.participation)})", str(one.labelled)
        cells = (one.model, one.version, one.predictions, one.refused, one.lost, votes, _percent(one.satisfaction))
        held_out = _percent(one.held_out["accuracy"] if one.held_out else None)
        drift = _percent(one.drift["share"] if one.drift else None)
        found.add_row(*map(str, cells), labels, _percent(one.accuracy), held_out, drift, answers or "–")
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
