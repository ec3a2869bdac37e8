"""Commands about one model: train, predict, feedback, versions."""

from __future__ import annotations

import mimetypes
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from canari.cli.common import (
    DEFAULT_DATA_DIR,
    AsJson,
    DataDir,
    Model,
    Token,
    Url,
    database,
    databases,
    emit,
    gateway,
    local_time,
    service,
    settings_for,
    table,
)
from canari.errors import CanariError
from canari.family import find_family
from canari.remote import checked
from canari.settings import Settings

_VERSION_FIELDS = ("state", "synthetic", "archive", "metrics", "created_at", "error")


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    for command in (train, predict, feedback, versions):
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
    option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="What the family's own training understands.")
    ] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Train the model's next version, measure it, export it and keep its bento. A killed run is continued."""
    settings = settings_for(data_dir)
    find_family(settings.families_dir, model)
    options: list[str] = ["--seed", str(seed)]
    for name, value in (("--data", data), ("--base-weights", base_weights), ("--epochs", epochs)):
        options += [name, str(value)] if value is not None else []
    options += [word for pair in option or [] for word in ("--option", pair)]
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
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Ask the running platform for a prediction."""
    content = typer.get_binary_stream("stdin").read() if str(file) == "-" else _read(file)
    kind = mimetypes.guess_type(file.name)[0] or _guess(content)
    headers = {"content-type": kind} | ({"x-canari-version": str(version)} if version is not None else {})
    with gateway(settings_for(data_dir), token, url) as client:
        answer = checked(client.post(f"/api/{model}/predict", content=content, headers=headers))
    best = answer["labels"][0]
    emit(
        answer,
        as_json=as_json,
        text=f"[bold]{escape(answer.get('answer', best['label']))}[/]  {best['score']:.1%}  "
        f"(version {answer['version']}, prediction {answer['prediction_id']})",
    )


def feedback(
    model: Model,
    prediction_id: Annotated[str, typer.Argument(help="The prediction's id, as `canari predict` printed it.")],
    right: Annotated[bool, typer.Option("--right/--wrong", help="Was the answer right?")],
    label: Annotated[str | None, typer.Option(help="What it really was.")] = None,
    comment: Annotated[str | None, typer.Option(help="Anything else.")] = None,
    token: Token = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Say whether a prediction was right."""
    vote = {"prediction_id": prediction_id, "right": right, "label": label, "comment": comment}
    with gateway(settings_for(data_dir), token, url) as client:
        response = client.post(f"/api/{model}/feedback", json=vote)
        answer = checked(response)
    said = "kept" if response.status_code == 201 else "already known"
    emit(answer, as_json=as_json, text=f"Thank you: your feedback is {said}.")


def versions(
    model: Model,
    token: Token = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """List the model's versions, newest first."""
    settings = settings_for(data_dir)
    if url is None:
        found = _local_versions(settings, model)
    else:
        with gateway(settings, token, url) as client:
            listed = checked(client.get(f"/api/{model}/versions"))["versions"]
        found = [
            {"model": model, "version": v["number"], **{name: v[name] for name in _VERSION_FIELDS}} for v in listed
        ]
    rows = [
        (
            v["version"],
            v["state"],
            _percent(v["metrics"].get("accuracy")),
            "drawn or generated" if v["synthetic"] else "yours",
            local_time(v["created_at"]),
            v["error"],
        )
        for v in found
    ]
    emit(
        found,
        as_json=as_json,
        text=table(["VERSION", "STATE", "ACCURACY", "LEARNED FROM", "CREATED", "FAULT"], rows),
    )


def _local_versions(settings: Settings, model: str) -> list[Mapping[str, Any]]:
    from canari.store import versions as store

    find_family(settings.families_dir, model)
    with database(settings) as engine:
        found = store.versions(engine, model)
    return [
        {"model": v.model, "version": v.number, **{name: getattr(v, name) for name in _VERSION_FIELDS}} for v in found
    ]


def _guess(content: bytes) -> str:
    return "application/json" if content.lstrip()[:1] in {b"{", b"["} else "application/octet-stream"


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CanariError(f"{file} cannot be read: {error.strerror}") from None


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.1%}"
