"""`canari bench`: measure this machine."""

from __future__ import annotations

import subprocess
from typing import Annotated

import typer

from canari.cli.common import DEFAULT_DATA_DIR, AsJson, DataDir, service, settings_for

app = typer.Typer(no_args_is_help=True, help="Measure what this machine can serve.")


@app.callback()
def _group() -> None:
    """Keep `serve` a subcommand though it is the only one."""


@app.command()
def serve(
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds; medians are printed.")] = 5,
    seconds: Annotated[float, typer.Option(min=1, help="How long each server is asked in a round.")] = 8.0,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests under way at once.")] = 8,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Compare Canari's whole path with simpler servers and with the engine alone, over HTTP, as ratios."""
    settings = settings_for(data_dir)
    arguments = ["--rounds", str(rounds), "--seconds", str(seconds), "--concurrency", str(concurrency)]
    command, variables = service(settings, "services.bench", *arguments, *(["--json"] if as_json else []))
    raise typer.Exit(subprocess.run(command, env=variables, check=False).returncode)
