"""`canari deploy`, `promote`, `rollback` and `weights`: steering a model's traffic by hand."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from canari.cli.common import (
    DEFAULT_DATA_DIR,
    AsJson,
    DataDir,
    Model,
    Token,
    Url,
    database,
    emit,
    fetched,
    gateway,
    settings_for,
    status_file,
    table,
)
from canari.errors import CanariError
from canari.remote import checked
from canari.settings import Settings

_SPLIT_SECONDS = 120.0
Reason = Annotated[str, typer.Option(help="Why, for the history.")]


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    for command in (deploy, promote, rollback, weights):
        app.command()(command)


def deploy(
    model: Model,
    version: Annotated[int, typer.Argument(help="A ready version's number.")],
    weight: Annotated[int, typer.Option(min=1, max=100, help="Percent of the traffic; 100 makes it stable.")] = 100,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="On this machine: return once the traffic is split so.")
    ] = True,
    token: Token = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Give a version a share of the model's traffic, by hand."""
    settings = settings_for(data_dir)
    if url is not None:
        decided = ask(settings, url, token, f"/api/{model}/rollout", {"version": version, "weight": weight})
        rollout = decided["rollout"]
        wanted = decided["weight"] if decided["canary"] == version else 100
    else:
        from canari.store import rollouts

        with database(settings) as engine:
            opened = rollouts.deploy(engine, model, version, weight=weight, actor=actor("deploy"))
            wanted = rollouts.desired(engine)[model].weight(version)
        rollout = opened.id if opened else None
        if wait and (settings.layout.root / "status.json").exists():
            _wait_for_weight(settings, model, version, wanted)
    emit(
        {"model": model, "version": version, "weight": wanted, "rollout": rollout},
        as_json=as_json,
        text=f"Version {version} of {model} gets {wanted} % of the traffic.",
    )


def promote(
    model: Model,
    reason: Reason = "by hand",
    token: Token = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Make the version on trial the stable one: it gets all traffic."""
    stable = steered("promote", model, reason, token, url, data_dir, command="promote")["stable"]
    emit(
        {"model": model, "stable": stable},
        as_json=as_json,
        text=f"Version {stable} of {model} is stable and gets all traffic.",
    )


def rollback(
    model: Model,
    reason: Reason = "by hand",
    token: Token = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Give the stable version all traffic again."""
    stable = steered("rollback", model, reason, token, url, data_dir, command="rollback")["stable"]
    emit(
        {"model": model, "stable": stable},
        as_json=as_json,
        text=f"{model} is rolled back: version {stable} gets all traffic.",
    )


def weights(
    model: Model,
    token: Token = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Show how the model's traffic is divided: here as it is now, elsewhere as it is wanted."""
    settings = settings_for(data_dir)
    if url is None:
        found = _running_model(settings, model)["weights"]
    else:
        versions = fetched(settings, url, token, f"/api/{model}")["versions"]
        found = {str(v["number"]): v["weight"] for v in reversed(versions) if v["weight"]}
    rows = [(version, f"{weight} %") for version, weight in found.items()]
    emit(found, as_json=as_json, text=table(["VERSION", "WEIGHT"], rows))


def ask(settings: Settings, url: str, token: str | None, route: str, body: dict[str, Any]) -> dict[str, Any]:
    """What the platform at `url` answers to a request to steer."""
    with gateway(settings, token, url) as client:
        return dict(checked(client.post(route, json=body)))


def steered(
    act: str, model: str, reason: str, token: str | None, url: str | None, data_dir: Path, *, command: str
) -> dict[str, Any]:
    """Have a rollout steered by a route's last word; what became of it, and which version is stable then.

    `command` names what was typed, for the history of a platform on this machine.
    """
    settings = settings_for(data_dir)
    if url is not None:
        answer = ask(settings, url, token, f"/api/{model}/rollout/{act}", {"reason": reason})
        return {name: answer[name] for name in ("rollout", "state", "stable")}
    from canari.store import rollouts

    acts = {
        "promote": rollouts.promote,
        "rollback": rollouts.roll_back,
        "pause": rollouts.pause,
        "resume": rollouts.resume,
        "abort": rollouts.abort,
    }
    with database(settings) as engine:
        rollout = acts[act](engine, model, reason=reason, actor=actor(command))
        stable = rollouts.desired(engine)[model].stable
    return {"rollout": rollout.id, "state": rollout.state, "stable": stable}


def actor(command: str) -> str:
    """Who decides on this machine, for the history."""
    return f"{os.environ.get('USER', 'someone')} (canari {command})"


def _wait_for_weight(settings: Settings, model: str, version: int, weight: int) -> None:
    deadline = time.monotonic() + _SPLIT_SECONDS
    while time.monotonic() < deadline:
        found = _running_model(settings, model)
        if found["weights"].get(str(version)) == weight and found["in_force"]:
            return
        time.sleep(0.1)
    trouble = found["trouble"] or f"see `canari logs bento-{model}-{version}`"
    raise CanariError(f"version {version} of {model} is wanted at {weight} % but does not answer yet: {trouble}")


def _running_model(settings: Settings, model: str) -> dict[str, Any]:
    models = status_file(settings)["models"]
    for found in models:
        if found["model"] == model:
            return dict(found)
    raise CanariError(f"there is no model {model!r} here; those there are: {', '.join(m['model'] for m in models)}")
