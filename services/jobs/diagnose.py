"""Why people say wrong: a version's votes, cut in every way that the store knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy import Engine

from canari.diagnosis import LEAST, Diagnosis, Dimension, Slice, by_dimension, find, stretches
from canari.errors import CanariError
from canari.registry import Registry
from canari.reporting import diagnosed
from canari.settings import Settings
from canari.store import references, rollouts, versions
from canari.store.slices import Cut, Window
from services.jobs import reports
from services.jobs.lineage import lineage_url

_CONFUSED, _WORST = 12, 20


def stable(engine: Engine, model: str) -> int:
    """The version that answers; raises CanariError where there is no such model or it has none."""
    desired = rollouts.desired(engine)
    if model not in desired:
        raise CanariError(f"there is no model {model!r}; the models are: {', '.join(desired) or 'none yet'}")
    number = desired[model].stable
    if number is None:
        raise CanariError(f"{model} has no stable version yet: name one with --version")
    return number


def diagnose(engine: Engine, model: str, version: int, since: datetime, until: datetime | None = None) -> Diagnosis:
    """Where people say wrong of a version's answers more than elsewhere, in the window [since, until), by default now.

    By answer, truth, certainty, time, input size, what its inputs look like, and beside the model's other versions.
    """
    end = until or datetime.now(UTC)
    window = Window(engine, model, since, end)
    of_versions = [_slice(cut) for cut in window.versions()]
    mine = next((one for one in of_versions if one.name == str(version)), Slice(Dimension.VERSION, "", 0, 0))
    found = Diagnosis(model, version, since, end, mine.votes, mine.wrong)
    if mine.votes < LEAST:
        few = f"{mine.votes} votes on version {version} are too few to see what they have in common"
        return replace(found, reason=f"{few}: it takes {LEAST}")
    cuts = [_slice(cut) for cut in window.cuts(version)]
    totals = by_dimension([*of_versions, *cuts])
    slices = [mine, *cuts]
    reference = references.read(engine, model, version)
    if reference is not None:
        for place, counts in window.places(version).items():
            if place < len(reference.measures):
                measure = reference.measures[place]
                slices += stretches(counts, measure)
                sums = [sum(column) for column in zip(*counts.values(), strict=True)]
                totals[Dimension.MEASURE, measure.name] = (sums[0], sums[1])
    return replace(
        found,
        findings=find(slices, totals),
        confused=tuple(window.confused(version, most=_CONFUSED)),
        worst=tuple(window.worst(version, most=_WORST)),
    )


def report(engine: Engine, settings: Settings, found: Diagnosis) -> str:
    """Keep a diagnosis' report, in the data folder and with the version's run; returns its name. Raises OSError."""
    name = f"{found.model}/{found.version}/diagnosis-{found.until:%Y%m%dT%H%M%SZ}.html"
    page = diagnosed.report(versions.live_specs(engine)[found.model], found)
    file = reports.keep(settings.layout.reports, name, page)
    Registry(lineage_url(settings), settings.layout.mlflow).attach(
        found.model, found.version, "live/diagnosis.html", file
    )
    return name


def _slice(cut: Cut) -> Slice:
    return Slice(Dimension(cut.dimension), _NAMES.get(cut.dimension, str)(cut.value), cut.votes, cut.wrong)


def _certainty(tenth: str) -> str:
    return f"{10 * int(tenth)} to {10 * int(tenth) + 10} %"


def _clock(third: str) -> str:
    return f"{3 * int(third):02} to {3 * int(third) + 3:02}"


def _size(power: str) -> str:
    low = 2 ** int(power)
    return f"{_bytes(low)} to {_bytes(2 * low)}"


def _bytes(count: int) -> str:
    for unit, size in (("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count // size} {unit}"
    return f"{count} bytes"


_NAMES: Mapping[str, Callable[[str], str]] = {"certainty": _certainty, "clock": _clock, "size": _size}
