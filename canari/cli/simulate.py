"""`canari simulate`: what the rule for rollouts does in a described world, and what others' rules would do there."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from canari.cli.common import DEFAULT_DATA_DIR, AsJson, DataDir, emit, out, settings_for
from canari.errors import CanariError

if TYPE_CHECKING:
    from canari.simulation.play import Figures, Played
    from canari.simulation.world import World

_BAR = 10
_LOOKS = 400


def add_to(app: typer.Typer) -> None:
    """The command of this module, on the application."""
    app.command()(simulate)


def simulate(
    world: Annotated[
        Path | None, typer.Option("--world", help="A world, as YAML (docs/reference/judgement.md).")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Or a model, whose canary is tried as specified.")
    ] = None,
    worse_by: Annotated[
        float | None, typer.Option(min=0, help="With --model: how many margins worse the canary is (0: as good).")
    ] = None,
    traffic: Annotated[str, typer.Option(help="With --model: its requests, such as 20/s or 5000/d.")] = "5/s",
    rules: Annotated[
        str | None, typer.Option("--rules", help="Which rules play, with commas between; all by default.")
    ] = None,
    rollouts: Annotated[int, typer.Option(min=10, help="How many rollouts each rule plays.")] = 2000,
    seed: Annotated[int, typer.Option(help="Another number draws other rollouts.")] = 1,
    picture: Annotated[Path | None, typer.Option(help="Draw what came of it (.svg, .png, .pdf).")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Play thousands of rollouts: how often a good one is rolled back, a bad one promoted, and how soon it is found.

    The same worlds are played by Canari's rule, by those that Argo Rollouts and Flagger document, and by a z-test that
    is repeated at every look.
    """
    from canari.simulation.play import play, summed
    from canari.simulation.rules import RULES

    names = rules.split(",") if rules else list(RULES)
    if unknown := [name for name in names if name not in RULES]:
        raise CanariError(f"there is no rule {unknown[0]!r}; the rules are: {', '.join(RULES)}")
    worlds = _worlds(world, model, worse_by, traffic, data_dir)
    if picture is not None and len(worlds) > 1:
        raise CanariError("a picture shows one world: say with --worse-by how bad the canary is")
    found: list[dict[str, Any]] = []
    for played_world in worlds:
        played = {name: play(played_world, RULES[name], rollouts, seed) for name in names}
        figures = [summed(of, name) for name, of in played.items()]
        found.append(
            {"world": played_world.model_dump(mode="json"), "rules": [figure.document() for figure in figures]}
        )
        if not as_json:
            _print(played_world, figures)
        if picture is not None:
            _draw(played, picture)
    if as_json:
        emit(found, as_json=True, text="")


def _worlds(world: Path | None, model: str | None, worse_by: float | None, traffic: str, data_dir: Path) -> list[World]:
    from canari.simulation.world import load_world, world_of
    from canari.spec_file import load_spec

    if (world is None) == (model is None):
        raise CanariError("name a world (--world FILE) or a model (--model MODEL)")
    if world is not None:
        return [load_world(world)]
    assert model is not None
    spec = load_spec(settings_for(data_dir).families_dir / model)
    look = max(timedelta(minutes=1), spec.canary.deadline / _LOOKS)
    return [
        world_of(
            spec.canary,
            name=f"{model}: a canary that is {f'{worse:g} margins worse' if worse else 'as good as stable'}, {traffic}",
            worse_by=worse,
            traffic=traffic,
            look=look,
            looks=max(1, spec.canary.deadline // look),
        )
        for worse in ([0.0, 3.0] if worse_by is None else [worse_by])
    ]


def _print(world: World, figures: list[Figures]) -> None:
    lasts = _time(world.look.total_seconds() * world.looks)
    out.print(f"\n[bold]{world.name}[/]: {figures[0].rollouts:,} rollouts by each rule, {world.looks} looks in {lasts}")
    told = [
        "The canary is worse than its margin allows: a roll back is right." if world.harms else "",
        "The canary is within its margins: a roll back is false." if not world.harms else "",
        "A promotion is false." if world.worse else "",
    ]
    out.print(" ".join(filter(None, told)))
    after = ["BACK AFTER", "90 %"] if world.harms else ["PROMOTED AFTER"]
    columns = ["RULE", "", "BACK", "PROMOTED", "OPEN", *after, "HARMED"]
    shown = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for at in figures:
        times = [at.detection_median, at.detection_90] if world.harms else [at.promotion_median]
        shares = [f"{share:.1%}" for share in (at.rolled_back, at.promoted, at.open)]
        shown.add_row(at.rule, _bar(at), *shares, *map(_time, times), f"{at.users_harmed:,.0f}")
    out.print(shown)
    error = max(max(at.rolled_back_error, at.promoted_error) for at in figures)
    out.print(f"[dim]Standard error of the shares: at most {error:.1%}. HARMED: bad answers beyond stable's.[/]")


def _bar(at: Figures) -> Text:
    back, promoted = round(_BAR * at.rolled_back), round(_BAR * at.promoted)
    bar = Text("█" * back, style="red")
    bar.append("█" * promoted, style="green")
    return bar.append("░" * (_BAR - back - promoted), style="dim")


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _draw(played: dict[str, Played], file: Path) -> None:
    from canari.simulation.picture import draw

    draw(played, file)
    out.print(f"The picture is {file}.")
