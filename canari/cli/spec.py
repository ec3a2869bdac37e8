"""`canari spec`: check a model.yaml, print its JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from canari.cli.common import DEFAULT_DATA_DIR, AsJson, DataDir, emit
from canari.spec import ModelSpec
from canari.spec_file import load_spec

app = typer.Typer(no_args_is_help=True, help="Check a model's specification, or print what it may hold.")


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="A model.yaml, or the folder that holds it.")],
    as_json: AsJson = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,  # noqa: ARG001 - every command takes it
) -> None:
    """Check a specification: each fault is told with its line, its field, and what is allowed there."""
    spec = load_spec(path)
    emit(
        {"name": spec.name, "hash": spec.hash, "spec": spec.document()},
        as_json=as_json,
        text=f"{spec.name}: the specification holds ({len(spec.labels)} labels, {spec.input.kind} input, "
        f"hash {spec.hash[:12]})",
    )


@app.command()
def schema(data_dir: DataDir = DEFAULT_DATA_DIR, as_json: AsJson = True) -> None:  # noqa: ARG001 - it is JSON anyway
    """Print the JSON Schema of model.yaml, for editors and other programs."""
    typer.echo(json.dumps(ModelSpec.model_json_schema(), indent=2, ensure_ascii=False))
