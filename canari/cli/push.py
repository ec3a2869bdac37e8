"""`canari push`: a version of this machine, or a package, to a platform elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from canari.cli.common import (
    DEFAULT_DATA_DIR,
    AsJson,
    DataDir,
    Model,
    Token,
    database,
    emit,
    err,
    gateway,
    settings_for,
)
from canari.errors import CanariError
from canari.packages import Package, load_package
from canari.packages import push as send
from canari.settings import Settings


def add_to(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(push)


def push(
    model: Model,
    url: Annotated[str, typer.Option("--url", envvar="CANARI_URL", help="The platform that is to have it.")],
    version: Annotated[int | None, typer.Argument(help="A ready version of the platform on the data folder.")] = None,
    package: Annotated[Path | None, typer.Option(help="A package's folder, instead of a version.")] = None,
    token: Token = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Send a version to a platform elsewhere, which gives it a number of its own. Sending it again changes nothing."""
    settings = settings_for(data_dir)
    pushed = _pushed(settings, model, version, package)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with gateway(settings, token, url) as client, Progress(*columns, console=err, disable=not err.is_terminal) as bar:
        task = bar.add_task(f"{model} to {url}", total=None)
        number, new = send(client, pushed, lambda done, total: bar.update(task, completed=done, total=total))
    known = "" if new else ", as it was before"
    emit(
        {"model": model, "version": number, "new": new, "archive": pushed.archive},
        as_json=as_json,
        text=f"It is version {number} of {model} at {url}{known}. To give it traffic:\n"
        f"canari deploy {model} {number} --weight 20 --url {url}",
    )


def _pushed(settings: Settings, model: str, version: int | None, package: Path | None) -> Package:
    if (version is None) == (package is None):
        raise CanariError("say what to push: a version's number, or --package DIR")
    if package is not None:
        found = load_package(package)
        if found.model != model:
            raise CanariError(f"{package} is a package of {found.model}, not of {model}")
        return found
    assert version is not None
    return _kept(settings, model, version)


def _kept(settings: Settings, model: str, number: int) -> Package:
    from canari.store import versions

    with database(settings) as engine:
        found = versions.version(engine, model, number)
        if found.archive is None:
            raise CanariError(f"version {number} of {model} is {found.state}: it has no bento to push")
        spec, manifest = versions.built_spec(engine, model, number), versions.manifest(engine, model, number)
    file = settings.layout.archives / f"{found.archive}.tar.gz"
    if not file.is_file():
        raise CanariError(f"the archive {file} is missing: put it back, or train the version again")
    return Package(spec, found.archive, file, found.metrics, found.synthetic, manifest)
