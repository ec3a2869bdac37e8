"""What rules did in a world, as a picture: how many rollouts each had rolled back, and promoted, by when."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from canari.errors import CanariError
from canari.policy import Verdict
from canari.simulation.play import Played

_COLOURS = ("#1f6f8b", "#c0392b", "#e0a030", "#7f5fa8", "#5b8c5a", "#888888")
_INK, _GRID = "#22313a", "#dfe5e8"
_ENDS = {".svg", ".png", ".pdf"}


def draw(played: Mapping[str, Played], file: Path) -> None:
    """Write the picture, in the format of the file's ending; raises CanariError where it cannot be drawn."""
    if file.suffix not in _ENDS:
        raise CanariError(f"{file}: a picture's file ends in one of {', '.join(sorted(_ENDS))}")
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        raise CanariError("pictures need matplotlib: pip install 'canari[train]', or leave --picture out") from None
    world = next(iter(played.values())).world
    # A fixed salt and no date: the same rollouts make the same file.
    with rc_context({"svg.hashsalt": "canari", "svg.fonttype": "none"}):
        figure = Figure(figsize=(10, 4), dpi=120, layout="constrained")
        figure.suptitle(world.name, color=_INK, fontsize=12)
        for axes, verdict, title in zip(
            figure.subplots(1, 2, sharey=True),
            (Verdict.ROLL_BACK, Verdict.PROMOTE),
            ("Rolled back", "Promoted"),
            strict=True,
        ):
            _shares(axes, played, verdict, title)
        figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def _shares(axes: Any, played: Mapping[str, Played], verdict: Verdict, title: str) -> None:
    world = next(iter(played.values())).world
    size, unit = next(
        (size, unit)
        for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes"), (0, "seconds"))
        if world.look.total_seconds() * world.looks >= 3 * size
    )
    times = np.arange(world.looks + 1) * world.look.total_seconds() / (size or 1)
    for place, (name, found) in enumerate(played.items()):
        ended = np.bincount(found.look[found.verdict == verdict], minlength=world.looks + 1).cumsum()
        shares = 100 * ended / found.verdict.size
        colour = _COLOURS[place % len(_COLOURS)]
        # The first is drawn over the others.
        axes.plot(times, shares, label=name, color=colour, linewidth=2, zorder=len(played) + 2 - place)
    axes.set(xlim=(0, times[-1]), ylim=(-2, 102), xlabel=f"Time ({unit})", title=title)
    axes.set_ylabel("Rollouts (%)" if verdict is Verdict.ROLL_BACK else "")
    axes.grid(color=_GRID)
    axes.spines[["top", "right"]].set_visible(False)
    if verdict is Verdict.ROLL_BACK:
        axes.legend(frameon=False)
