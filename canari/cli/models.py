"""Commands about one model: train, predict, feedback, versions, deploy, weights."""

from __future__ import annotations

import mimetypes
import os
import subprocess
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from canari.cli.common import (
    DEFAULT_DATA_DIR,
    AsJson,
    DataDir,
    Model,
    checked,
    database,
    databases,
    emit,
    gateway,
    service,
    settings_for,
    status_file,
    table,
)
from canari.errors import CanariError
from canari.family import find_family
from canari.settings import Settings

Token = Annotated[str | None, typer.Option("--token", envvar="CANARI_API_TOKEN", help="A token, where one is needed.")]


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    for command in (train, predict, feedback, versions, deploy, weights):
        app.command()(command)


def train(
    model: Model,
    data: Annotated[
        Path | None, typer.Option("--data", help="A folder per label; without it, what `canari data add` added.")
    ] = None,
    base_weights: Annotated[
        str | None, typer.Option(help="Weights to start from: a local file, or `imagenet` (downloaded by Keras).")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="The most passes over the training samples.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed and data give the same training.")] = 0,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Train the model's next version, measure it, export it and keep its bento. A killed run is continued."""
    settings = settings_for(data_dir)
    find_family(settings.families_dir, model)
    options: list[str] = ["--seed", str(seed)]
    for name, value in (("--data", data), ("--base-weights", base_weights), ("--epochs", epochs)):
        options += [name, str(value)] if value is not None else []
    with databases(settings) as urls:
        command, variables = service(
            settings,
            "services.jobs",
            "train",
            model,
            *options,
            *(["--json"] if as_json else []),
            CANARI_DATABASE_URL=urls.app,
            CANARI_LINEAGE_URL=urls.lineage,
        )
        done = subprocess.run(command, env=variables, check=False)
    raise typer.Exit(done.returncode)


def predict(
    model: Model,
    file: Annotated[Path, typer.Argument(help="A photo, a text, or a JSON file; `-` reads standard input.")],
    version: Annotated[int | None, typer.Option("--version", help="Ask this version.")] = None,
    token: Token = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Ask the running platform for a prediction."""
    content = typer.get_binary_stream("stdin").read() if str(file) == "-" else _read(file)
    kind = mimetypes.guess_type(file.name)[0] or _guess(content)
    headers = {"content-type": kind} | ({"x-canari-version": str(version)} if version is not None else {})
    with gateway(settings_for(data_dir), token) as client:
        answer = checked(client.post(f"/api/{model}/predict", content=content, headers=headers))
    best = answer["labels"][0]
    emit(
        answer,
        as_json=as_json,
        text=f"[bold]{answer.get('answer', best['label'])}[/]  {best['score']:.1%}  "
        f"(version {answer['version']}, prediction {answer['prediction_id']})",
    )


def feedback(
    model: Model,
    prediction_id: Annotated[str, typer.Argument(help="The prediction's id, as `canari predict` printed it.")],
    right: Annotated[bool, typer.Option("--right/--wrong", help="Was the answer right?")],
    label: Annotated[str | None, typer.Option(help="What it really was.")] = None,
    comment: Annotated[str | None, typer.Option(help="Anything else.")] = None,
    token: Token = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Say whether a prediction was right."""
    vote = {"prediction_id": prediction_id, "right": right, "label": label, "comment": comment}
    with gateway(settings_for(data_dir), token) as client:
        response = client.post(f"/api/{model}/feedback", json=vote)
        answer = checked(response)
    said = "kept" if response.status_code == 201 else "already known"
    emit(answer, as_json=as_json, text=f"Thank you: your feedback is {said}.")


def versions(model: Model, data_dir: DataDir = DEFAULT_DATA_DIR, as_json: AsJson = False) -> None:
    """List the model's versions, newest first."""
    from canari.store import versions as store

    settings = settings_for(data_dir)
    find_family(settings.families_dir, model)
    with database(settings) as engine:
        found = store.versions(engine, model)
    rows = [
        (
            v.number,
            v.state,
            _percent(v.metrics.get("accuracy")),
            "drawn or generated" if v.synthetic else "yours",
            f"{v.created_at:%Y-%m-%d %H:%M}",
            v.error,
        )
        for v in found
    ]
    emit(
        [
            {
                "model": v.model,
                "version": v.number,
                "state": v.state,
                "synthetic": v.synthetic,
                "archive": v.archive,
                "metrics": v.metrics,
                "created_at": v.created_at,
                "error": v.error,
            }
            for v in found
        ],
        as_json=as_json,
        text=table(["VERSION", "STATE", "ACCURACY", "LEARNED FROM", "CREATED", "FAULT"], rows),
    )


def deploy(
    model: Model,
    version: Annotated[int, typer.Argument(help="A ready version's number.")],
    weight: Annotated[int, typer.Option(min=1, max=100, help="Percent of the traffic; 100 makes it stable.")] = 100,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Return once the traffic is split so.")] = True,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Give a version a share of the model's traffic, by hand."""
    from canari.store import rollouts

    settings = settings_for(data_dir)
    actor = f"{os.environ.get('USER', 'someone')} (canari deploy)"
    with database(settings) as engine:
        rollout = rollouts.deploy(engine, model, version, weight=weight, actor=actor)
    percent = rollout.weight if rollout else 100
    wanted = 100 if rollout is None or rollout.canary != version else percent
    if wait and (settings.layout.root / "status.json").exists():
        _wait_for_weight(settings, model, version, wanted)
    emit(
        {"model": model, "version": version, "weight": wanted, "rollout": rollout.id if rollout else None},
        as_json=as_json,
        text=f"Version {version} of {model} gets {wanted} % of the traffic.",
    )


def weights(model: Model, data_dir: DataDir = DEFAULT_DATA_DIR, as_json: AsJson = False) -> None:
    """Show how the model's traffic is divided now."""
    found = _running_model(settings_for(data_dir), model)
    rows = [(version, f"{weight} %") for version, weight in found["weights"].items()]
    emit(found["weights"], as_json=as_json, text=table(["VERSION", "WEIGHT"], rows))


def _wait_for_weight(settings: Settings, model: str, version: int, weight: int) -> None:
    deadline = time.monotonic() + 120
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


def _guess(content: bytes) -> str:
    return "application/json" if content.lstrip()[:1] in {b"{", b"["} else "application/octet-stream"


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CanariError(f"{file} cannot be read: {error.strerror}") from None


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.1%}"
