"""How the pictures of a report look: one palette, and SVG that a page can hold."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

P = ParamSpec("P")

INK, MUTED, GRID, SOFT = "#22313a", "#64727a", "#dfe5e8", "#eef2f4"
BLUE, AMBER, RED, GREEN = "#1f6f8b", "#e0a030", "#b5432f", "#4f8a5b"
# For versions side by side: apart also for those who see few colours (Wong, Nature Methods 8, 2011).
VERSIONS = (BLUE, "#d55e00", "#7a5ba8", "#009e73", "#8a6d3b", "#cc79a7")
_SIZES = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "svg.fonttype": "path",
    # A label may hold a dollar sign.
    "text.parse_math": False,
}


def drawn(draw: Callable[P, str]) -> Callable[P, str]:
    """Has a function draw in this style, and nothing else in the process."""

    @wraps(draw)
    def styled(*arguments: P.args, **named: P.kwargs) -> str:
        import matplotlib as mpl

        with mpl.rc_context(_SIZES):
            return draw(*arguments, **named)

    return styled


def figure(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Any, Any]:
    """A figure of `width` by `height` inches and its axes, without a display."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(made)
    return made, made.subplots(rows, columns, **options)


def svg(made: Any, name: str, description: str) -> str:
    """The figure as inline SVG. `name` keeps its inner ids apart from other pictures'; `description` is read aloud."""
    import matplotlib as mpl

    file = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        made.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    body = text[text.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    # Figures name their parts and glyphs alike, and a page may have each id once.
    body = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", body)
    escaped = description.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', rf'<svg \1 role="img" aria-label="{escaped}" '
                  r'xmlns:xlink="http://www.w3.org/1999/xlink">', body, count=1)  # fmt: skip


def plain(axes: Any, grid: str | None = "y") -> None:
    """No frame, and thin lines behind what is drawn."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)
    if grid:
        axes.grid(axis=grid, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def percent(axes: Any, side: str = "y") -> None:
    """Write one side's shares as percentages."""
    from matplotlib.ticker import PercentFormatter

    getattr(axes, f"{side}axis").set_major_formatter(PercentFormatter(1, decimals=0))
