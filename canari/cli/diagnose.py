"""`canari diagnose`: where people say wrong more than elsewhere."""

from __future__ import annotations

import subprocess
from typing import Annotated

import typer

from canari.cli.common import DEFAULT_DATA_DIR, AsJson, DataDir, Model, databases, service, settings_for


def add_to(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(diagnose)


def diagnose(
    model: Model,
    version: Annotated[int | None, typer.Option(min=1, help="This version; else the stable one.")] = None,
    since: Annotated[str, typer.Option(help="Votes on predictions since then: 7d, 24h, or a moment.")] = "7d",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Look for what the answers have in common that people say are wrong, and write a report of it."""
    settings = settings_for(data_dir)
    flags = ["--since", since, *(["--version", str(version)] if version else []), *(["--json"] if as_json else [])]
    with databases(settings) as urls:
        command, variables = service(
            settings, "services.jobs", "diagnose", model, *flags,
            CANARI_DATABASE_URL=urls.app, CANARI_LINEAGE_URL=urls.lineage,
        )  # fmt: skip
        done = subprocess.run(command, env=variables, check=False)
    raise typer.Exit(done.returncode)
