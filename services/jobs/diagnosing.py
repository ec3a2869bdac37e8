"""``python -m services.jobs diagnose``: what `canari diagnose` runs."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from canari.diagnosis import Diagnosis
from canari.errors import CanariError
from canari.settings import Settings
from canari.store.engine import connect
from services.jobs import diagnose as job
from services.jobs.evaluate import window

_SHOWN = 10


def add_to(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(diagnose)


def diagnose(
    model: Annotated[str, typer.Argument(help="The model's name, such as cats_dogs.")],
    version: Annotated[int | None, typer.Option(min=1, help="This version; else the stable one.")] = None,
    since: Annotated[str, typer.Option(help="The window's beginning: 24h or 7d before now, or a moment.")] = "7d",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Look where people say wrong more than elsewhere, and write a report of it."""
    settings = Settings()
    if settings.database_url is None:
        raise CanariError("CANARI_DATABASE_URL is not set: give the application role's URL, postgresql://...")
    begin, end = window(since, None, datetime.now(UTC))
    engine = connect(settings.database_url, pool=1)
    try:
        found = job.diagnose(engine, model, version or job.stable(engine, model), begin, end)
        report = settings.layout.reports / job.report(engine, settings, found)
    finally:
        engine.dispose()
    if as_json:
        sys.stdout.write(json.dumps({**found.document(), "report": str(report)}, ensure_ascii=False) + "\n")
        return
    sys.stdout.write("".join(f"{sentence}\n" for sentence in found.sentences))
    if found.worst:
        Console(width=160 if not sys.stdout.isatty() else None).print(_worst(found))
    sys.stdout.write(f"report: {report}\n")


def _worst(found: Diagnosis) -> Table:
    table = Table(title="Surest answers that people said were wrong", title_justify="left", box=None, pad_edge=False)
    for column in ("PREDICTION", "ANSWER", "REALLY", "CERTAINTY", "INPUT"):
        table.add_column(column)
    for one in found.worst[:_SHOWN]:
        certainty = "–" if one.score is None else f"{one.score:.0%}"
        kept = "kept" if one.kept else "–"
        table.add_row(str(one.prediction_id), one.answer or "–", one.truth or "–", certainty, kept)
    return table
