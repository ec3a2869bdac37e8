"""`canari rollout disagreements`: what a shadow answered otherwise than the stable version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from canari.cli.common import (
    DEFAULT_DATA_DIR,
    AsJson,
    DataDir,
    Model,
    RolloutNumber,
    Token,
    Url,
    database,
    emit,
    fetched,
    local_time,
    settings_for,
    table,
)
from canari.observations import Metric

_COLUMNS = ["WHEN", "STABLE", "SHADOW", "PREDICTION"]


def disagreements(
    model: Model,
    number: RolloutNumber,
    last: Annotated[int, typer.Option(min=1, max=500, help="The most that are listed.")] = 20,
    token: Token = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """List what a rollout's shadow answered otherwise than the stable version, newest first.

    They are found among its newest 50,000 copies of requests; `canari rollout show` tells how many there were in all.
    With --json, each has the other answer's id, the request's, and the input's SHA-256 too.
    """
    settings = settings_for(data_dir)
    if url is not None:
        route = f"/api/{model}/rollouts/{number}/disagreements"
        found = fetched(settings, url, token, route, {"limit": last})["disagreements"]
    else:
        from canari.store import shadows

        with database(settings) as engine:
            found = [asdict(one) for one in shadows.disagreements(engine, model, number, last=last)]
    emit(found, as_json=as_json, text=table(_COLUMNS, [_row(one) for one in found]))


def agreement(totals: Sequence[Mapping[str, Any]]) -> str | None:
    """How often a rollout's shadow answered as stable did, for people; None where nothing was compared."""
    compared = [total for total in totals if total["metric"] == Metric.AGREEMENT]
    count = sum(total["n"] for total in compared)
    if not count:
        return None
    other = sum(total["bad"] for total in compared)
    told = f"as a shadow it answered {count:,} requests, {other:,} of them otherwise than stable"
    return f"{told} ({100 * other / count:.3g} %)"


def _row(one: Mapping[str, Any]) -> tuple[object, ...]:
    when = local_time(one["made_at"], "%Y-%m-%d %H:%M:%S")
    return when, _answer(one["stable"]), _answer(one["shadow"]), one["stable"]["prediction_id"]


def _answer(said: Mapping[str, Any]) -> str:
    score = "" if said["score"] is None else f" {said['score']:.3f}"
    return f"{said['label']}{score}"
