"""The report of a diagnosis."""

from __future__ import annotations

from collections.abc import Sequence

from canari.diagnosis import Diagnosis, Finding, Worst
from canari.reporting import style
from canari.reporting.page import Page, Part, Table, Tile, percent, render
from canari.spec import ModelSpec

_SHOWN = 14


def report(spec: ModelSpec, found: Diagnosis) -> str:
    """The report as an HTML file. Inputs that may be seen are named, and stay where they are kept."""
    parts = [*_slices(found), *_confused(found), *_worst(found)]
    standing = sum(one.found for one in found.findings)
    return render(
        Page(
            kind="Diagnosis of a live version",
            title=f"{spec.title.en}, version {found.version}",
            when=f"{found.since:%d %B %Y %H:%M} to {found.until:%d %B %Y %H:%M} UTC",
            headline=_headline(found, standing),
            told=found.sentences if standing else (),
            tiles=[
                Tile("votes", f"{found.votes:,}"),
                Tile("of them say wrong", percent(found.wrong / found.votes if found.votes else None)),
                Tile("slices looked at", str(len(found.findings))),
                Tile("stand out", str(standing), bad=standing > 0),
            ],
            parts=parts,
            notes=[found.reason] if found.reason else [],
        )
    )


def _headline(found: Diagnosis, standing: int) -> str:
    if found.reason:
        return "Nothing can be said yet"
    return "Where people say wrong more than elsewhere" if standing else found.sentences[0]


def _slices(found: Diagnosis) -> list[Part]:
    shown = [one for one in found.findings if one.found or one.excess > 0][:_SHOWN]
    if not shown:
        return []
    lead = (
        "The share of votes that say wrong in each slice, with its 95 % interval, beside the rest of the votes (the "
        "line). Coloured are those that stand out, by a test that is held over all slices that were looked at."
    )
    rows = [
        (one.sentence, f"{one.excess:.0f}", _chance(one.p), "stands out" if one.found else "may be chance")
        for one in shown
    ]
    table = Table(("Slice", "Beyond the rest", "p", "Verdict"), rows, numbers=frozenset({1, 2, 3}))
    return [Part("By slice", lead, picture(shown), table)]


def _chance(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else f"{p:.0e}"


def _confused(found: Diagnosis) -> list[Part]:
    if not found.confused:
        return []
    rows = [(one.truth, one.answer, f"{one.n:,}") for one in found.confused]
    table = Table(("It really was", "and was answered", "Times"), rows, numbers=frozenset({2}))
    return [Part("What is taken for what", "As people said who named it.", table=table)]


def _worst(found: Diagnosis) -> list[Part]:
    if not found.worst:
        return []
    lead = (
        "Answers that people said were wrong and that the version was surest of. Inputs that are kept, because their "
        f"senders let them be, are at /api/{found.model}/inputs/ID for whoever may curate, and for as long."
    )
    rows = [_example(one) for one in found.worst]
    table = Table(
        ("Prediction", "When (UTC)", "Answer", "Really", "Certainty", "Input"), rows, frozenset({4}), frozenset({0})
    )
    return [Part("The worst examples", lead, table=table)]


def _example(one: Worst) -> Sequence[str]:
    kept, when = "kept" if one.kept else "–", f"{one.made_at:%d %b %H:%M}"
    return str(one.prediction_id), when, one.answer or "–", one.truth or "–", percent(one.score), kept


@style.drawn
def picture(findings: Sequence[Finding]) -> str:
    """Each slice's share of votes that say wrong, with its interval and the rest's share, as inline SVG."""
    made, axes = style.figure(10.4, 0.9 + 0.42 * len(findings))
    for place, one in enumerate(reversed(findings)):
        colour = style.RED if one.found else style.BLUE
        axes.plot(one.interval, [place, place], color=colour, linewidth=6, alpha=0.25, solid_capstyle="round")
        axes.plot([one.share], [place], "o", color=colour, markersize=7)
        axes.plot([one.elsewhere] * 2, [place - 0.32, place + 0.32], color=style.MUTED, linewidth=1.6)
    axes.set_yticks(range(len(findings)), [_name(one) for one in reversed(findings)])
    axes.tick_params(axis="y", labelcolor=style.INK)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.7, len(findings) - 0.3), xlabel="Share of votes that say wrong")
    style.plain(axes, "x")
    style.percent(axes, "x")
    return style.svg(made, "slices", "; ".join(one.sentence for one in findings))


def _name(one: Finding) -> str:
    cut = one.slice
    return f"{cut.part or cut.dimension.value}: {cut.name}  ({cut.votes:,})"
