"""`canari erase`: a person's data goes, or a certificate is checked."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from canari.cli.common import DEFAULT_DATA_DIR, AsJson, DataDir, Token, Url, databases, emit, err, gateway, settings_for
from canari.errors import CanariError
from canari.keys import signing_key
from canari.remote import checked

if TYPE_CHECKING:
    from canari.settings import Settings

_POLL_SECONDS = 1.0


def add_to(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(erase)


def erase(
    subject: Annotated[str | None, typer.Option(help="Who, as predictions and tokens name them.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why; it is kept, so it should name nobody.")] = None,
    access: Annotated[bool, typer.Option("--access", help="Revoke their tokens and delete their account too.")] = False,
    rewrite: Annotated[
        bool, typer.Option("--rewrite", help="Write the database's tables anew: they are locked meanwhile.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="A file for the certificate.")] = None,
    verify: Annotated[
        Path | None, typer.Option(help="Check this certificate instead; with --subject also whom it is of.")
    ] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Erase a person: what they sent and said goes, what arrives late stays out, and a signed certificate tells so."""
    settings = settings_for(data_dir)
    if verify is not None:
        _verify(settings, verify, subject, as_json=as_json)
        return
    if subject is None:
        raise CanariError("whose data is to go? Give --subject ID, or a certificate to check with --verify FILE")
    if url is not None and rewrite:
        raise CanariError("--rewrite works on the platform's own machine alone: leave --url out")
    if url is None:
        certificate = _erase_here(settings, subject, reason, access=access, rewrite=rewrite)
    else:
        certificate = _erase_there(settings, url, token, {"subject": subject, "reason": reason, "access": access})
    if out is not None:
        out.write_text(json.dumps(certificate, indent=2) + "\n", encoding="utf-8")
    emit(certificate, as_json=as_json, text=_text(certificate, out))


def _erase_here(settings: Settings, subject: str, reason: str | None, *, access: bool, rewrite: bool) -> dict[str, Any]:
    from canari.cli.rollouts import actor
    from canari.erasure import Eraser
    from canari.store.engine import connect
    from canari.tombstones import Tombstones

    with databases(settings) as urls:
        engine = connect(urls.app, pool=1)
        try:
            tombstones = Tombstones(settings.layout.root)
            eraser = Eraser(engine, settings.layout, tombstones, partial(signing_key, settings.keys), urls.owner)
            one = eraser.begin(subject, actor("erase"), access=access, reason=reason)
            told: list[str] = []
            done = eraser.finish(one, [subject], rewrite=rewrite, tell=told.append)
        finally:
            engine.dispose()
    if done is None:
        raise CanariError(
            f"the erasure {one.id} is begun and not done yet, {told[-1]}; the retention job goes on with it: "
            f"`canari job run retention` once that is over"
        )
    return dict(done)


def _erase_there(settings: Settings, url: str, token: str | None, wanted: dict[str, Any]) -> dict[str, Any]:
    with gateway(settings, token, url) as client:
        found = checked(client.post("/api/erasures", json=wanted))
        err.print(f"[dim]erasure {found['id']} is begun; it goes on without this command[/]")
        while found["state"] != "done":
            time.sleep(_POLL_SECONDS)
            found = checked(client.get(f"/api/erasures/{found['id']}"))
    return dict(found["certificate"])


def _verify(settings: Settings, file: Path, subject: str | None, *, as_json: bool) -> None:
    from canari import erasure
    from canari.tombstones import Tombstones

    try:
        certificate = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CanariError(f"{file} is no certificate: {error}") from None
    erasure.verify(signing_key(settings.keys).public_key(), certificate)
    if subject is not None and not erasure.is_of(certificate, subject, Tombstones(settings.layout.root)):
        raise CanariError(f"the certificate is genuine, but it is not of {subject}")
    emit(certificate, as_json=as_json, text=f"[green]Genuine.[/] {_text(certificate, None)}")


def _text(certificate: dict[str, Any], out: Path | None) -> str:
    counts = ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in sorted(certificate["counts"].items()))
    lines = [f"Erasure {certificate['erasure']} was done at {certificate['done_at']}: {counts or 'nothing was kept'}."]
    if certificate["left_to_autovacuum"]:
        tables = ", ".join(certificate["left_to_autovacuum"])
        lines.append(f"The database clears the dead rows of {tables} by itself: its owner alone could have at once.")
    lines += [
        f"{one['model']} {one['version']} learned from {one['samples']} of it: {one['suggestion']}"
        for one in certificate["trained_on"]
    ]
    if out is not None:
        lines.append(f"The certificate is in {out}; `canari erase --verify {out}` checks it.")
    return "\n".join(escape(line) for line in lines)
