"""`canari rollout ...`: versions that are judged step by step, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.markup import escape

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
    out,
    require_model,
    settings_for,
    table,
)
from canari.cli.replay import replay
from canari.cli.rollout_frame import verdict_of, versions_of
from canari.cli.rollouts import Reason, actor, ask, promote, rollback, steered
from canari.cli.shadows import agreement, disagreements
from canari.cli.watch import watch
from canari.types import RolloutState

if TYPE_CHECKING:
    from sqlalchemy import Engine

app = typer.Typer(no_args_is_help=True, help="Have versions judged, step by step, and see what became of them.")
app.command()(promote)
app.command()(rollback)
app.command()(watch)
app.command()(replay)
app.command()(disagreements)
States = Annotated[
    list[RolloutState] | None, typer.Option("--state", help="Only those in this state; may be repeated.")
]
_COLUMNS = ["ID", "VERSION", "AGAINST", "STATE", "MODE", "STEP", "WEIGHT", "PROPOSED", "SETTLED", "WHY"]
# A narrow terminal goes without these.
_ROOMY, _WIDE = {"AGAINST", "MODE", "STEP"}, 110


@app.command()
def start(
    model: Model,
    version: Annotated[int, typer.Argument(help="A ready version's number.")],
    reason: Reason = "by hand",
    token: Token = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Have a version judged: it gets traffic step by step, and is promoted or rolled back by what users get."""
    settings = settings_for(data_dir)
    if url is not None:
        answer = ask(settings, url, token, f"/api/{model}/rollout", {"version": version, "reason": reason})
        found = {name: answer[name] for name in ("rollout", "state", "canary", "weight", "expected")}
    else:
        from canari.store import rollouts

        with database(settings) as engine:
            proposed = rollouts.propose(engine, model, version, actor=actor("rollout start"), reason=reason)
            opened = rollouts.desired(engine)[model].rollout
            found = {
                "rollout": proposed.id,
                "state": proposed.state,
                "canary": opened.canary if opened else None,
                "weight": opened.weight if opened else 0,
                "expected": _local(engine, model, proposed.id)["expected"],
            }
    emit({"model": model, "version": version, **found}, as_json=as_json, text=_started(model, version, found))


@app.command()
def pause(
    model: Model,
    reason: Reason = "by hand",
    token: Token = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Keep the rollout where it is: it neither advances nor is promoted by itself."""
    found = steered("pause", model, reason, token, url, data_dir, command="rollout pause")
    _told(model, found, "is paused", as_json=as_json)


@app.command()
def resume(
    model: Model,
    reason: Reason = "by hand",
    token: Token = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Let a paused rollout go on; the pause does not count towards its deadline."""
    found = steered("resume", model, reason, token, url, data_dir, command="rollout resume")
    _told(model, found, "goes on", as_json=as_json)


@app.command()
def abort(
    model: Model,
    reason: Reason = "by hand",
    token: Token = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """End the trial without a verdict: the stable version gets all traffic, and the rollout that waits opens."""
    found = steered("abort", model, reason, token, url, data_dir, command="rollout abort")
    _told(model, found, "is aborted", as_json=as_json)


@app.command("list")
def list_rollouts(
    model: Model,
    state: States = None,
    version: Annotated[int | None, typer.Option(help="Only those of this version.")] = None,
    last: Annotated[int, typer.Option(min=1, max=500, help="The most that are listed.")] = 20,
    token: Token = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """List the model's rollouts, newest first."""
    settings = settings_for(data_dir)
    if url is not None:
        asked: dict[str, Any] = {"state": state or [], "limit": last}
        if version is not None:
            asked["version"] = version
        found = fetched(settings, url, token, f"/api/{model}/rollouts", asked)["rollouts"]
    else:
        from canari.store import rollout_views

        with database(settings) as engine:
            require_model(engine, model)
            listed = rollout_views.listed(engine, model, last=last, states=state or (), version=version)
        found = [asdict(rollout) for rollout in listed]
    shown = [name for name in _COLUMNS if out.width >= _WIDE or name not in _ROOMY]
    rows = [dict(zip(_COLUMNS, _row(rollout), strict=True)) for rollout in found]
    emit(found, as_json=as_json, text=table(shown, [[row[name] for name in shown] for row in rows]))


@app.command()
def show(
    model: Model,
    number: RolloutNumber,
    token: Token = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Show a rollout: its steps, every decision about it, what was counted, and how long it will take."""
    settings = settings_for(data_dir)
    if url is not None:
        found = fetched(settings, url, token, f"/api/{model}/rollouts/{number}")
    else:
        with database(settings) as engine:
            found = _local(engine, model, number)
    emit(found, as_json=as_json, text=_shown(model, found))


def _told(model: str, found: Mapping[str, Any], said: str, *, as_json: bool) -> None:
    """Tell what became of an open rollout."""
    result = {"model": model, "rollout": found["rollout"], "state": found["state"]}
    emit(result, as_json=as_json, text=f"Rollout {found['rollout']} of {model} {said}.")


def _local(engine: Engine, model: str, number: int) -> dict[str, Any]:
    from canari.store import rollout_views

    detail = rollout_views.detail(engine, model, number)
    expectation = rollout_views.expected(engine, detail)
    return asdict(detail.rollout) | {
        "steps": list(detail.rules.steps) if detail.rules else None,
        "decisions": [asdict(made) for made in detail.decisions],
        "evidence": [asdict(total) for total in detail.evidence],
        "expected": asdict(expectation) if expectation else None,
        "judgement": detail.judgement,
    }


def _started(model: str, version: int, found: Mapping[str, Any]) -> str:
    if found["state"] == RolloutState.QUEUED:
        said = (
            f"Rollout {found['rollout']} of {model}: version {version} waits while version {found['canary']} is tried."
        )
    elif found["canary"] != version:
        said = f"Version {version} is the first of {model} and gets all traffic."
    else:
        share = f"with {found['weight']} % of the traffic" if found["weight"] else "as a shadow that gets copies"
        said = f"Rollout {found['rollout']} of {model}: version {version} is judged from now on, {share}."
    return f"{said}\n{found['expected']['sentence']}" if found["expected"] else said


def _shown(model: str, found: Mapping[str, Any]) -> Group:
    facts = [f"Rollout {found['id']} of {model}: {versions_of(found)}"]
    facts.append(f"{_state(found)}, {found['mode']}, {found['weight']} % of the traffic")
    if found["steps"]:
        steps = [
            f"[bold]{step}[/]" if place == found["step"] else str(step) for place, step in enumerate(found["steps"])
        ]
        facts.append(f"steps: {', '.join(steps)}; deadline {_moment(found['deadline_at'])}")
    if found["expected"]:
        facts.append(found["expected"]["sentence"])
    if found["judgement"]:
        facts.append(f"{verdict_of(found['judgement'])}: {escape(found['judgement']['sentence'])}")
    if (agreed := agreement(found["evidence"])) is not None:
        facts.append(agreed)
    decided = [
        (_moment(made["created_at"]), made["action"], f"{made['weight']} %", made["actor"], made["reason"])
        for made in found["decisions"]
    ]
    counted = [
        (one["metric"], _step(found["steps"] or (), one["step"]), one["version"], one["n"], one["bad"])
        for one in found["evidence"]
    ]
    tables = [table(["WHEN", "DECISION", "WEIGHT", "WHO", "WHY"], decided)]
    if counted:
        tables.append(table(["METRIC", "STEP", "VERSION", "COUNTED", "BAD"], counted))
    return Group("\n".join(facts), *(part for shown in tables for part in ("", shown)))


def _row(rollout: Mapping[str, Any]) -> tuple[object, ...]:
    return (
        rollout["id"],
        rollout["canary"],
        rollout["stable"],
        _state(rollout),
        rollout["mode"],
        rollout["step"],
        f"{rollout['weight']} %",
        _moment(rollout["created_at"]),
        _moment(rollout["settled_at"]),
        rollout["reason"],
    )


def _step(steps: Sequence[str | int], place: int) -> str:
    """A step in words; what is counted once the version is promoted comes after all of them."""
    if place >= len(steps):
        return "after"
    return f"{steps[place]} %" if isinstance(steps[place], int) else str(steps[place])


def _state(rollout: Mapping[str, Any]) -> str:
    return "paused" if rollout["paused_at"] and rollout["state"] == RolloutState.OPEN else str(rollout["state"])


def _moment(value: datetime | str | None) -> str | None:
    return None if value is None else local_time(value)
