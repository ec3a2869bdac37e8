"""`canari job ...`: what is evaluated, trained and deleted by itself, and asking for it by hand."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated, Any

import httpx
import typer
from rich.console import Group
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from canari.cli.common import (
    DEFAULT_DATA_DIR,
    AsJson,
    DataDir,
    Token,
    Url,
    databases,
    emit,
    err,
    gateway,
    local_time,
    place,
    service,
    settings_for,
    table,
)
from canari.cli.rollouts import Reason, actor
from canari.errors import CanariError
from canari.family import parse_options
from canari.keys import SIGNING_KEY, signing_key
from canari.remote import RefusedError, checked
from canari.settings import Settings
from canari.tokens import Scope, issue
from canari.types import JobKind, JobState

app = typer.Typer(no_args_is_help=True, help="See what is evaluated, trained and deleted by itself, or ask for it.")
_STATUSES = {JobState.DONE: 0, JobState.REFUSED: 3, JobState.FAILED: 1}
_LOOK_SECONDS = 1.0
_NOT_FOUND = 404
_SHOWN = 300

OneModel = Annotated[str | None, typer.Argument(metavar="[MODEL]", help="A model's name; without it, every one's.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Draw its progress until it has ended.")]


@app.command("list")
def list_jobs(
    model: OneModel = None,
    kind: Annotated[JobKind | None, typer.Option(help="Only those of this kind.")] = None,
    state: Annotated[JobState | None, typer.Option(help="Only those in this state.")] = None,
    last: Annotated[int, typer.Option(min=1, max=500, help="The most that are listed.")] = 20,
    token: Token = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """List the jobs, newest first."""
    asked = {name: value for name, value in (("kind", kind), ("state", state), ("limit", last)) if value is not None}
    found: dict[int, dict[str, Any]] = {}
    with _operating(settings_for(data_dir), token, url) as client:
        for name in [model] if model else _models(client):
            listed = checked(client.get(f"/api/{name}/jobs", params=asked))["jobs"]
            found |= {job["id"]: job for job in listed}
    jobs = [found[number] for number in sorted(found, reverse=True)[:last]]
    emit(jobs, as_json=as_json, text=table(["ID", "KIND", "MODEL", "STATE", "CREATED", "ASKED BY", "WHY"], _rows(jobs)))


@app.command()
def show(
    number: Annotated[
        int, typer.Argument(metavar="ID", min=1, help="The job's number, as `canari job list` tells it.")
    ],
    follow: Follow = False,
    token: Token = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Show a job: how far it is, and what came of it.

    With --follow it ends with 0 where the job is done, 3 where it was refused, 1 where it failed.
    """
    with _operating(settings_for(data_dir), token, url) as client:
        route, job = _found(client, number)
        job = _followed(client, route, job) if follow else job
    _end([job], as_json=as_json, follow=follow)


@app.command()
def run(
    kind: Annotated[JobKind, typer.Argument(help="evaluate, retrain or retention.")],
    model: OneModel = None,
    reason: Reason = "by hand",
    option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Of retrain: what the family's training understands.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of retrain: the same seed and data train the same.")] = None,
    tune: Annotated[int | None, typer.Option(min=1, help="Of retrain: search so many sets of options first.")] = None,
    generate: Annotated[int | None, typer.Option(min=2, help="Of retrain: so many synthetic samples instead.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Of evaluate: the window's beginning, 24h or 7d ago, or a moment.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done and why, and do nothing.")] = False,
    follow: Follow = False,
    token: Token = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Ask the running platform for a job, now; with --dry-run only say what its schedule would do now, and why."""
    settings = settings_for(data_dir)
    if dry_run:
        _dry_run(settings, kind, model, url, as_json=as_json)
    if kind is JobKind.RETRAIN and model is None:
        raise CanariError("which model is to be trained? `canari job run retrain MODEL`")
    given = {"options": parse_options(option or []), "seed": seed, "tune": tune, "generate": generate, "since": since}
    arguments = {name: value for name, value in given.items() if value not in (None, {})}
    body = {"kind": kind, "reason": reason, "arguments": arguments}
    with _operating(settings, token, url) as client:
        names = [model] if model else _models(client)
        # Retention is the whole platform's, whichever model it is asked of.
        asked = {
            f"/api/{name}/jobs": dict(checked(client.post(f"/api/{name}/jobs", json=body)))
            for name in (names[:1] if kind is JobKind.RETENTION else names)
        }
        jobs = [_followed(client, route, job) if follow else job for route, job in asked.items()]
    _end(jobs, as_json=as_json, follow=follow)


@contextmanager
def _operating(settings: Settings, token: str | None, url: str | None) -> Iterator[httpx.Client]:
    """A client of the running platform; on this machine it is signed for with the platform's own key."""
    if url is None and token is None and (settings.keys / SIGNING_KEY).exists():
        lifetime = timedelta(days=1)
        token, _ = issue(signing_key(settings.keys), subject=actor("job"), scopes=[Scope.OPERATE], lifetime=lifetime)
    with gateway(settings, token, url) as client:
        yield client


def _models(client: httpx.Client) -> list[str]:
    found = [str(model["name"]) for model in checked(client.get("/api/status"))["models"]]
    if not found:
        raise CanariError("this platform has no model yet")
    return found


def _found(client: httpx.Client, number: int) -> tuple[str, dict[str, Any]]:
    """A job, and the route of its model's jobs."""
    for model in _models(client):
        route = f"/api/{model}/jobs"
        try:
            return route, dict(checked(client.get(f"{route}/{number}")))
        except RefusedError as error:
            if error.status != _NOT_FOUND:
                raise
    raise CanariError(f"there is no job {number}: `canari job list` tells those there are")


def _followed(client: httpx.Client, route: str, job: dict[str, Any]) -> dict[str, Any]:
    """Draw a job's progress until it has ended; returns it as it is then."""
    columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bars: dict[str, TaskID] = {}
    told = ""
    with Progress(*columns, console=err, disable=not err.is_terminal) as drawn:
        while JobState(job["state"]) not in _STATUSES:
            now = f"job {job['id']} is {job['state']}{_because(job)}"
            if now != told:
                drawn.console.print(escape(now), soft_wrap=True)
                told = now
            if (at := job["progress"]) is not None:
                if at["stage"] not in bars:
                    bars[at["stage"]] = drawn.add_task(at["stage"])
                drawn.update(bars[at["stage"]], completed=at["done"], total=at["total"])
            time.sleep(_LOOK_SECONDS)
            job = dict(checked(client.get(f"{route}/{job['id']}")))
    return job


def _because(job: Mapping[str, Any]) -> str:
    return f": {job['error']}" if job["error"] else ""


def _end(jobs: list[dict[str, Any]], *, as_json: bool, follow: bool) -> None:
    shown = jobs[0] if len(jobs) == 1 else jobs
    emit(shown, as_json=as_json, text=Group(*(_told(job) for job in jobs)))
    if follow:
        raise typer.Exit(max(_STATUSES[JobState(job["state"])] for job in jobs))


def _told(job: Mapping[str, Any]) -> Group:
    lines = [f"[bold]Job {job['id']}[/], {_kind(job)}: {job['state']}{escape(_because(job))}"]
    lines.append(f"asked for by {escape(job['asked_by'])} at {local_time(job['created_at'])}: {escape(job['reason'])}")
    if (at := place(job["progress"])) and JobState(job["state"]) not in _STATUSES:
        lines.append(f"it is at {escape(at)}")
    if job["ended_at"]:
        lines.append(f"ended at {local_time(job['ended_at'])}, in attempt {job['attempts']}")
    if job["arguments"]:
        lines.append(f"arguments: {_flat(job['arguments'])}")
    return Group(
        *lines, *(f"{escape(name.replace('_', ' '))}: {_flat(value)}" for name, value in job["result"].items())
    )


def _flat(value: object) -> str:
    """A value on a line; what would fill the screen is for programs."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return escape(text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ... (all of it: --json)")


def _kind(job: Mapping[str, Any]) -> str:
    return f"{job['kind']} of {job['model'] or 'every model'}"


def _rows(jobs: list[dict[str, Any]]) -> list[tuple[object, ...]]:
    return [
        (
            job["id"],
            job["kind"],
            job["model"] or "all",
            place(job["progress"]) if job["state"] == JobState.RUNNING else job["state"],
            local_time(job["created_at"]),
            job["asked_by"],
            job["error"] or job["reason"],
        )
        for job in jobs
    ]


def _dry_run(settings: Settings, kind: JobKind, model: str | None, url: str | None, *, as_json: bool) -> None:
    """Look at this platform's own data, in a process of its own; ends with its status."""
    if url is not None:
        raise CanariError("what would be done is told where the platform's data lie: leave --url and --dry-run out")
    if kind is JobKind.RETENTION and model is not None:
        raise CanariError("retention is of every model: leave the model out")
    flags = [*(["--model", model] if model else []), *(["--json"] if as_json else [])]
    with databases(settings) as urls:
        command, variables = service(
            settings,
            "services.jobs",
            kind,
            "--dry-run",
            *flags,
            CANARI_DATABASE_URL=urls.app,
            CANARI_LINEAGE_URL=urls.lineage,
        )
        done = subprocess.run(command, env=variables, check=False)
    raise typer.Exit(done.returncode)
