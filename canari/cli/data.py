"""`canari data`: the samples a team adds, here or to a platform elsewhere."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

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
    err,
    fetched,
    gateway,
    require_model,
    service,
    settings_for,
    table,
)
from canari.family import find_family
from canari.settings import Settings
from canari.uploads import Sent, send

app = typer.Typer(no_args_is_help=True, help="Add samples to learn from, and see how many there are.")
_SHOWN = 20


@app.command()
def add(
    model: Model,
    folder: Annotated[Path, typer.Argument(help="A folder per label, with the samples' files.")],
    url: Url = None,
    token: Token = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Add your own samples: what a policy of `train_on: own` learns from. What is there already is left alone.

    With --url they are sent to a platform elsewhere; the same command goes on where it stopped.
    """
    settings = settings_for(data_dir)
    if url is not None:
        _send(settings, url, token, model, folder, as_json=as_json)
        return
    find_family(settings.families_dir, model)
    with databases(settings) as urls:
        flags = ["--json"] if as_json else []
        command, variables = service(
            settings, "services.jobs", "add", model, str(folder), *flags, CANARI_DATABASE_URL=urls.app
        )
        done = subprocess.run(command, env=variables, check=False)
    raise typer.Exit(done.returncode)


@app.command(name="list")
def list_(
    model: Model,
    url: Url = None,
    token: Token = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """How many samples there are, by label, side and origin, and how many are new since the stable version."""
    settings = settings_for(data_dir)
    found = _counted(settings, model) if url is None else _asked(settings, url, token, model)
    rows = [
        (
            one["label"],
            "judged on" if one["evaluation"] else "learned from",
            "generated" if one["synthetic"] else one["origin"],
            one["count"],
        )
        for one in found["counts"]
    ]
    since = "" if found["stable"] is None else f" since version {found['stable']}"
    threshold = "" if found["threshold"] is None else f"; from {found['threshold']:,} on it is trained again"
    text = Group(table(("LABEL", "SIDE", "ORIGIN", "SAMPLES"), rows), f"{found['new']:,} new{since}{threshold}")
    emit(found, as_json=as_json, text=text)


def _asked(settings: Settings, url: str, token: str | None, model: str) -> dict[str, Any]:
    """What a platform elsewhere says."""
    return {
        **fetched(settings, url, token, f"/api/{model}/samples"),
        **fetched(settings, url, token, f"/api/{model}/new-images"),
    }


def _counted(settings: Settings, model: str) -> dict[str, Any]:
    """The same, of the platform on the data folder, whether it runs or not."""
    from canari.curation import news
    from canari.store import rollouts, samples, versions

    with database(settings) as engine:
        require_model(engine, model)
        spec = versions.live_specs(engine)[model]
        counts = samples.counts(engine, model)
        new, newest = samples.new(engine, model, news(spec.data.train_on))
        stable = rollouts.desired(engine)[model].stable
    return {
        "labels": list(spec.labels),
        "total": sum(one.n for one in counts if not one.synthetic),
        "counts": [
            {
                "label": one.label,
                "evaluation": one.evaluation,
                "origin": one.origin,
                "synthetic": one.synthetic,
                "count": one.n,
            }
            for one in counts
        ],
        "stable": stable,
        "new": new,
        "threshold": spec.triggers.new_samples,
        "newest": newest.isoformat() if newest else None,
    }


def _send(settings: Settings, url: str, token: str | None, model: str, folder: Path, *, as_json: bool) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with gateway(settings, token, url) as client, Progress(*columns, console=err, disable=not err.is_terminal) as bar:
        task = bar.add_task(f"{model} to {url}", total=None)
        sent = send(client, model, folder, lambda done, total: bar.update(task, completed=done, total=total))
    # As `services.jobs add` says it of a folder here.
    result = {"model": model, "found": sent.sent + sent.known, "added": sent.sent, "skipped": dict(sent.refused)}
    emit(result, as_json=as_json, text=_text(model, url, sent))


def _text(model: str, url: str, sent: Sent) -> str:
    lines = [f"{model}: {sent.sent} new samples at {url}, {sent.known} were there before"]
    if sent.refused:
        lines.append(f"{len(sent.refused)} refused:")
        lines += [f"  {name}: {why}" for name, why in sent.refused[:_SHOWN]]
    if len(sent.refused) > _SHOWN:
        lines.append(f"  and {len(sent.refused) - _SHOWN} more")
    return "\n".join(lines)
