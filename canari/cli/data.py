"""`canari data`: the samples a team adds, and the ones a family can generate."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Annotated

import typer

from canari.cli.common import DEFAULT_DATA_DIR, AsJson, DataDir, Model, databases, service, settings_for
from canari.family import find_family

app = typer.Typer(no_args_is_help=True, help="Add samples to learn from.")


@app.command()
def add(
    model: Model,
    folder: Annotated[Path, typer.Argument(help="A folder per label, with the samples' files.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Add your own samples: what a policy of `train_on: own` learns from. What is there already is left alone."""
    settings = settings_for(data_dir)
    find_family(settings.families_dir, model)
    with databases(settings) as urls:
        flags = ["--json"] if as_json else []
        command, variables = service(
            settings, "services.jobs", "add", model, str(folder), *flags, CANARI_DATABASE_URL=urls.app
        )
        done = subprocess.run(command, env=variables, check=False)
    raise typer.Exit(done.returncode)
