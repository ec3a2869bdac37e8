"""What every command shares: the data folder, JSON or tables, and how to reach a running platform."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import httpx
import typer
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from canari.errors import CanariError
from canari.remote import checked
from canari.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from canari.launch.databases import Urls

DataDir = Annotated[
    Path, typer.Option("--data-dir", envvar="CANARI_DATA_DIR", help="The platform's data folder.", show_default=True)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Model = Annotated[str, typer.Argument(help="The model's name, such as cats_dogs.")]
Token = Annotated[str | None, typer.Option("--token", envvar="CANARI_API_TOKEN", help="A token, where one is needed.")]
Url = Annotated[
    str | None,
    typer.Option("--url", envvar="CANARI_URL", help="A platform elsewhere; else the one on the data folder."),
]
RolloutNumber = Annotated[
    int, typer.Argument(metavar="ID", help="The rollout's number, as `canari rollout list` tells it.")
]
DEFAULT_DATA_DIR = Path(".canari")
_ENDLESS = 10_000
_UNBROKEN = {"WHEN", "CREATED", "PROPOSED", "SETTLED", "STATE", "DECISION"}

# A line that goes to `grep` or to a file is not broken.
out = Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _ENDLESS)
err = Console(stderr=True, highlight=False, emoji=False)


def settings_for(data_dir: Path, **changes: Any) -> Settings:
    """The settings of the environment, for one data folder."""
    return Settings(data_dir=data_dir, **changes)


def emit(value: Any, *, as_json: bool, text: str | Table | Group) -> None:
    """Print a command's result: JSON for programs, else what people read."""
    if as_json:
        sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str, indent=2) + "\n")
    else:
        out.print(text, soft_wrap=isinstance(text, str))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A plain table; None is shown as a dash. What people wrote is never markup, and a narrow terminal cuts nothing."""
    found = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        found.add_column(column, overflow="fold", no_wrap=column in _UNBROKEN)
    for row in rows:
        found.add_row(*(cell if isinstance(cell, Text) else Text("–" if cell is None else str(cell)) for cell in row))
    return found


def local_time(moment: datetime | str, form: str = "%Y-%m-%d %H:%M") -> str:
    """A moment, or one of a JSON document, by this machine's clock. One without a zone is in UTC."""
    found = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return f"{(found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone():{form}}"


def place(progress: Mapping[str, Any] | None) -> str | None:
    """How far a job says it is: ``train 3/10``; None where it has not said."""
    return f"{progress['stage']} {progress['done']}/{progress['total']}" if progress else None


@contextmanager
def databases(settings: Settings) -> Iterator[Urls]:
    """The platform's databases, started for this command where nothing runs; raises CanariError without an answer."""
    from sqlalchemy.exc import OperationalError

    from canari.launch.databases import open_databases

    try:
        with open_databases(settings) as urls:
            yield urls
    except OperationalError as error:
        raise CanariError(f"the database does not answer: {str(error.orig).strip()}") from None


@contextmanager
def database(settings: Settings) -> Iterator[Engine]:
    """A connection to the platform's database for one command."""
    from canari.store.engine import connect

    with databases(settings) as urls:
        engine = connect(urls.app, pool=1)
        try:
            yield engine
        finally:
            engine.dispose()


def require_model(engine: Engine, model: str) -> None:
    """Raise CanariError unless this platform has the model."""
    from canari.store import rollouts

    known = rollouts.desired(engine)
    if model not in known:
        raise CanariError(f"there is no model {model!r} here; those there are: {', '.join(known) or 'none yet'}")


def status_file(settings: Settings) -> dict[str, Any]:
    """What the running platform last said of itself; raises CanariError where none runs."""
    try:
        found = json.loads((settings.layout.root / "status.json").read_text())
    except (OSError, ValueError):
        raise CanariError(f"nothing runs on {settings.layout.root}: start it with `canari up`") from None
    return dict(found)


@contextmanager
def gateway(settings: Settings, token: str | None = None, url: str | None = None) -> Iterator[httpx.Client]:
    """A client of the public routes: of the platform at `url`, else of the one that runs on the data folder."""
    where = url or str(status_file(settings)["url"])
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        with httpx.Client(base_url=where, headers=headers, timeout=60) as client:
            yield client
    except httpx.UnsupportedProtocol:
        raise CanariError(f"{where!r} is no address: it begins with http:// or https://") from None
    except httpx.TransportError as error:
        hint = "is it the gateway's address?" if url else "see `canari status`"
        raise CanariError(f"{where} does not answer ({error}): {hint}") from None
    except httpx.InvalidURL as error:
        raise CanariError(f"{where!r} is no address: {error}") from None


def fetched(
    settings: Settings, url: str, token: str | None, route: str, asked: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What the platform at `url` answers to a question."""
    with gateway(settings, token, url) as client:
        return dict(checked(client.get(route, params=asked)))


def service(settings: Settings, module: str, *arguments: str, **environment: str) -> tuple[list[str], dict[str, str]]:
    """The command and environment of one of the platform's own programs, for this data folder."""
    variables = {
        **os.environ,
        "CANARI_DATA_DIR": str(settings.layout.root),
        "CANARI_FAMILIES_DIR": str(settings.families_dir),
        **environment,
    }
    return [sys.executable, "-m", module, *arguments], variables
