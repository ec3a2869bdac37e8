"""`canari up`, `down`, `status` and `logs`: the platform on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from canari.cli.common import (
    DEFAULT_DATA_DIR,
    AsJson,
    DataDir,
    Url,
    emit,
    err,
    gateway,
    local_time,
    out,
    place,
    service,
    settings_for,
    status_file,
    table,
)
from canari.errors import CanariError
from canari.remote import checked
from canari.settings import Settings

_START_SECONDS = 900.0


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    for command in (up, down, status, logs):
        app.command()(command)


def up(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    port: Annotated[int, typer.Option(envvar="CANARI_PORT", help="The gateway's port.", min=1, max=65535)] = 8080,
    detach: Annotated[bool, typer.Option("--detach", help="Return once everything is ready; it goes on.")] = False,
    no_demo: Annotated[bool, typer.Option("--no-demo", help="Train no demonstration versions.")] = False,
    no_jobs: Annotated[bool, typer.Option("--no-jobs", help="Evaluate, retrain and delete nothing by itself.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run the platform: PostgreSQL, the gateway, the APIs, each model's versions, and jobs when they are due.

    Ctrl-C ends it.
    """
    settings = settings_for(data_dir, port=port)
    flags = [flag for flag, wanted in (("--no-demo", no_demo), ("--no-jobs", no_jobs)) if wanted]
    command, variables = service(settings, "services.controller", *flags, CANARI_PORT=str(port))
    if not detach:
        os.execve(command[0], command, variables)  # noqa: S606 - it becomes the controller
    settings.layout.create()
    log = settings.layout.logs / "controller.log"
    with log.open("ab") as output:
        child = subprocess.Popen(
            command, env=variables, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    found = _shown(_wait_until_ready(settings, child, log))
    emit(found, as_json=as_json, text=f"Canari is ready: {found['url']}  (`canari down` ends it)")


def down(data_dir: DataDir = DEFAULT_DATA_DIR, as_json: AsJson = False) -> None:
    """End the platform that runs on the data folder, also one whose controller was killed."""
    from canari.launch.databases import take_lock

    settings = settings_for(data_dir)
    layout = settings.layout
    if not layout.lock.exists():
        raise CanariError(f"nothing runs on {layout.root}")
    lock = take_lock(layout)
    if lock is None:
        os.kill(int(layout.lock.read_text()), signal.SIGTERM)
        deadline = time.monotonic() + 90
        while (lock := take_lock(layout)) is None:
            if time.monotonic() > deadline:
                raise CanariError(f"it has not ended within 90 s; its log is in {layout.logs}")
            time.sleep(0.1)
    with lock:
        _stop_leftovers(settings)
    emit({"stopped": True}, as_json=as_json, text="Stopped: nothing runs any more, and everything is kept.")


def status(
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Show the platform's processes, and each model's versions and weights."""
    settings = settings_for(data_dir)
    if url is not None:
        with gateway(settings, url=url) as client:
            elsewhere = checked(client.get("/api/status"))
        emit(elsewhere, as_json=as_json, text=_elsewhere_table(elsewhere["models"]))
        return
    found = _shown(status_file(settings))
    if as_json:
        emit(found, as_json=True, text="")
        return
    out.print(f"[bold]{found['url']}[/]")
    if found["waiting_for"]:
        out.print(f"waiting for {'; '.join(found['waiting_for'])}")
    out.print(_models_table(found["models"]))
    out.print()
    if found["jobs"]:
        out.print(_jobs_table(found["jobs"]))
        out.print()
    out.print(table(["PROCESS", "PID", "DEATHS"], [(p["name"], p["pid"], p["deaths"]) for p in found["processes"]]))


def logs(
    name: Annotated[str | None, typer.Argument(help="A process, as `canari status` names it; none: all.")] = None,
    lines: Annotated[int, typer.Option("-n", min=1, help="How many of the last lines.")] = 50,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as lines are written.")] = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Print what the platform's processes wrote."""
    folder = settings_for(data_dir).layout.logs
    names = sorted(file.stem for file in folder.glob("*.log"))
    if name is not None and name not in names:
        raise CanariError(f"there is no log of {name!r}; those there are: {', '.join(names) or 'none'}")
    files = [folder / f"{n}.log" for n in ([name] if name else names)]
    if follow:
        os.execvp("tail", ["tail", "-n", str(lines), "-F", *map(str, files)])  # noqa: S606
    found = {file.stem: _tail(file, lines) for file in files}
    emit(
        found,
        as_json=as_json,
        text="\n".join(escape(line if name else f"{stem} | {line}") for stem, tail in found.items() for line in tail),
    )


def _shown(status: dict[str, Any]) -> dict[str, Any]:
    """The status without what is for commands alone: the databases' URLs may hold passwords."""
    return {key: value for key, value in status.items() if key != "databases"}


def _models_table(models: list[dict[str, Any]]) -> Table:
    rows = [
        (
            model["model"],
            model["stable"],
            model["canary"],
            " / ".join(f"v{version} {weight} %" for version, weight in model["weights"].items()) or None,
            model["trouble"] or ", ".join(f"v{n} {state}" for n, state in model["states"].items()) or "no version yet",
        )
        for model in models
    ]
    return table(["MODEL", "STABLE", "CANARY", "WEIGHTS", "PROCESSES"], rows)


def _jobs_table(jobs: list[dict[str, Any]]) -> Table:
    rows = [
        (job["id"], job["kind"], job["model"], place(job["progress"]), job["since"] and local_time(job["since"]))
        for job in jobs
    ]
    return table(["JOB", "KIND", "MODEL", "AT", "SINCE"], rows)


def _elsewhere_table(models: list[dict[str, Any]]) -> Table:
    rows = []
    for model in models:
        canary, day = model["canary"], model["last_day"]
        on_trial = f"v{canary['version']} {canary['weight']} %" if canary else None
        satisfied = None if day["satisfaction"] is None else f"{day['satisfaction']:.0%}"
        rows.append((model["name"], model["stable"], on_trial, day["predictions"], day["feedback"], satisfied))
    return table(["MODEL", "STABLE", "CANARY", "PREDICTIONS", "FEEDBACK", "SATISFIED"], rows)


def _tail(file: Path, lines: int) -> list[str]:
    return file.read_text(errors="replace").splitlines()[-lines:]


def _wait_until_ready(settings: Settings, child: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
    deadline = time.monotonic() + _START_SECONDS
    with err.status("Starting ...") as spinner:
        while time.monotonic() < deadline:
            ended = child.poll()
            try:
                found = status_file(settings)
            except CanariError:
                found = {}
            if ended is not None and (ended or not found):
                raise CanariError("\n".join(_tail(log, 3)) or f"it ended with status {ended}")
            if found and not found["waiting_for"]:
                return found
            spinner.update(f"Waiting for {'; '.join(found.get('waiting_for', ['the controller']))}")
            time.sleep(0.2)
    raise CanariError(f"it is not ready after {_START_SECONDS:.0f} s; it goes on, and its log is {log}")


def _stop_leftovers(settings: Settings) -> None:
    from canari.launch.processes import Supervisor, stopping_order

    supervisor = Supervisor(settings.layout.processes, settings.layout.logs)
    for group in stopping_order(supervisor.known()):
        supervisor.stop(group)
    (settings.layout.root / "status.json").unlink(missing_ok=True)
