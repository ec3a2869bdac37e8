"""From turns to what they say: medians over rounds, and ratios within each round, which the machine's moods cancel."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from services.bench.load import Turn

TITLES = {
    "naive": "FastAPI + keras predict",
    "threads": "the same, in its thread pool",
    "bentoml": "BentoML typed endpoint, Keras",
    "canari": "Canari, the whole path",
    "limit": "the engine alone, in process",
    "recorded": "one version, recording",
    "unrecorded": "one version, not recording",
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many times as many answers `one` gives as `other`, and the least that is expected of it."""

    one: str
    other: str
    bar: float | None = None

    @property
    def name(self) -> str:
        """As the report calls it."""
        return f"{self.one}_over_{self.other}"


COMPARISONS = (
    Comparison("canari", "naive", 3.2),
    Comparison("canari", "limit", 0.90),
    Comparison("canari", "threads"),
    Comparison("canari", "bentoml"),
    Comparison("recorded", "unrecorded", 0.97),
)


def summarise(turns: Mapping[str, Sequence[Turn]]) -> dict[str, Any]:
    """The report, as JSON values; each server's turns are in the order of the rounds."""
    servers = {
        name: {
            "requests_per_second": _spread([turn.rate for turn in own]),
            "p50_ms": round(median(turn.p50_ms for turn in own), 1),
            "p99_ms": round(median(turn.p99_ms for turn in own), 1),
            "generator_share": round(max(turn.generator_share for turn in own), 3),
        }
        for name, own in turns.items()
    }
    ratios = {
        pair.name: {
            **_spread([a.rate / b.rate for a, b in zip(turns[pair.one], turns[pair.other], strict=True)]),
            "bar": pair.bar,
        }
        for pair in COMPARISONS
        if pair.one in turns and pair.other in turns
    }
    return {"servers": servers, "ratios": ratios}


def machine() -> dict[str, str | int]:
    """What the figures hold for."""
    names = [line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith("model name")]
    packages = ("tensorflow", "keras", "bentoml", "onnxruntime")
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def as_text(report: Mapping[str, Any]) -> str:
    """The report for people."""
    about = report["machine"]
    lines = [
        f"{about['cpu']}, {about['cpus']} CPUs, {about['system']}, Python {about['python']}",
        f"{report['rounds']} interleaved rounds of {report['seconds']:g} s, {report['concurrency']} requests at once",
        "",
        f"{'medians (least to most)':31} {'requests/s':>22} {'p50 ms':>9} {'p99 ms':>9}   the generator's CPU",
    ]
    for name, found in report["servers"].items():
        rate = _between(found["requests_per_second"], 1)
        lines.append(
            f"{TITLES[name]:31} {rate:>22} {found['p50_ms']:>9.1f} {found['p99_ms']:>9.1f}   "
            f"{found['generator_share']:.1%}"
        )
    verdicts = [_verdict(pair, report["ratios"][pair.name]) for pair in COMPARISONS if pair.name in report["ratios"]]
    return "\n".join([*lines, "", *verdicts])


def _verdict(pair: Comparison, ratio: Mapping[str, float]) -> str:
    said = f"{TITLES[pair.one]} / {TITLES[pair.other]}: {_between(ratio, 2)}"
    if pair.bar is None:
        return f"      {said}"
    return f"{'ok' if ratio['median'] >= pair.bar else 'UNDER':6}{said}, expected >= {pair.bar:.2f}"


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {
        name: round(value, 3)
        for name, value in (("median", median(values)), ("min", min(values)), ("max", max(values)))
    }


def _between(spread: Mapping[str, float], digits: int) -> str:
    return f"{spread['median']:.{digits}f} ({spread['min']:.{digits}f} to {spread['max']:.{digits}f})"


def _cpu_lines() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
