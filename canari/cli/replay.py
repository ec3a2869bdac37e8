"""`canari rollout replay`: judge a rollout again, from the evidence that was kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from canari.cli.common import (
    DEFAULT_DATA_DIR,
    AsJson,
    DataDir,
    Token,
    Url,
    database,
    emit,
    err,
    fetched,
    local_time,
    settings_for,
    table,
)
from canari.errors import CanariError
from canari.settings import Settings


def replay(
    rollout: Annotated[
        list[str], typer.Argument(metavar="[MODEL] ID", help="The rollout's number; with --url its model too.")
    ],
    token: Token = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Judge a rollout again, to see whether the evidence that was kept leads to the decisions that were made.

    Tells each decision beside the verdict that its evidence leads to, and each look that should have led to one. Ends
    with 0 where all is the same, 1 where it is not.
    """
    settings = settings_for(data_dir)
    model, number = _named(rollout)
    if url is None:
        found = _here(settings, model, number)
    elif model is None:
        raise CanariError(f"name the model too: `canari rollout replay MODEL {number} --url {url}`")
    else:
        found = fetched(settings, url, token, f"/api/{model}/rollouts/{number}/replay")
    emit(found, as_json=as_json, text=_shown(found))
    if not found["same"]:
        raise typer.Exit(1)


def _named(words: list[str]) -> tuple[str | None, int]:
    if len(words) > 2 or not words[-1].isdecimal():
        raise CanariError("name one rollout by its number, as `canari rollout list MODEL` tells it: `replay 7`")
    return (words[0] if len(words) == 2 else None), int(words[-1])


def _here(settings: Settings, model: str | None, number: int) -> dict[str, Any]:
    from canari.store import courses

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with database(settings) as engine, Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("rows of evidence", total=courses.size(engine, number))
        found = courses.judge_again(engine, model, number, told=lambda rows: progress.advance(task, rows))
    return asdict(found) | {"same": found.same}


def _shown(found: Mapping[str, Any]) -> Group:
    rows = [
        (
            local_time(datetime.fromtimestamp(one["at"] / 1000, tz=UTC), "%Y-%m-%d %H:%M:%S"),
            one["id"],
            one["action"],
            one["actor"],
            _said(one["recorded"]),
            _said(one["recomputed"]),
            "yes" if one["same"] else Text("no", "bold red"),
            one["why"],
        )
        for one in found["compared"]
    ]
    judged = sum(one["recomputed"] is not None and one["id"] is not None for one in found["compared"])
    ended = "the same" if found["same"] else "[bold red]not the same[/]"
    verdicts = "1 verdict" if judged == 1 else f"{judged} verdicts"
    told = f"Rollout {found['rollout']}: {found['looks']:,} looks and {verdicts} judged again, {ended}."
    return Group(table(["WHEN", "ID", "DECISION", "WHO", "VERDICT", "AGAIN", "SAME", "WHY"], rows), "", told)


def _said(verdict: str | None) -> str | None:
    return None if verdict is None else verdict.replace("_", " ")
