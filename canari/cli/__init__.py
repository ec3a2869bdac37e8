"""The `canari` command."""

from __future__ import annotations

import sys

import typer
from rich.markup import escape

from canari import __version__
from canari.cli import (
    access,
    bench,
    data,
    diagnose,
    erase,
    jobs,
    judged,
    models,
    platform,
    push,
    queue,
    rollouts,
    simulate,
    spec,
)
from canari.cli.common import err
from canari.errors import CanariError

app = typer.Typer(
    name="canari",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Serve models, compare two versions on what users really get, and never ship a worse one.",
)
platform.add_to(app)
models.add_to(app)
rollouts.add_to(app)
push.add_to(app)
access.add_to(app)
erase.add_to(app)
diagnose.add_to(app)
app.add_typer(judged.app, name="rollout")
simulate.add_to(app)
app.add_typer(data.app, name="data")
app.add_typer(queue.app, name="queue")
app.add_typer(jobs.app, name="job")
app.add_typer(spec.app, name="spec")
app.add_typer(access.tokens, name="token")
app.add_typer(access.accounts, name="account")
app.add_typer(bench.app, name="bench")


@app.callback(invoke_without_command=True)
def _version(
    show: bool = typer.Option(False, "--version", help="Print the version and end.", is_eager=True),
) -> None:
    if show:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command; a fault that a person can mend is one line, and exit status 1."""
    try:
        app()
    except CanariError as error:
        err.print(f"[bold red]canari:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(1)
