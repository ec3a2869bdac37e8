"""`canari token`, `canari account` and `canari login`: who may do what."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from canari.cli.common import DEFAULT_DATA_DIR, AsJson, DataDir, database, emit, gateway, settings_for, table
from canari.errors import CanariError
from canari.keys import signing_key
from canari.remote import checked
from canari.tokens import ALL_MODELS, SESSION_COOKIE, Scope, issue

tokens = typer.Typer(no_args_is_help=True, help="Give out, list and revoke tokens.")
accounts = typer.Typer(no_args_is_help=True, help="Make and disable accounts that log in with a password.")

Scopes = Annotated[
    list[Scope], typer.Option("--scope", help="What it allows; may be given several times.", show_default=True)
]
Models = Annotated[list[str] | None, typer.Option("--model", help="For this model alone; several times for several.")]


def add_to(app: typer.Typer) -> None:
    """Add this module's command that belongs to no group."""
    app.command()(login)


def login(
    url: Annotated[str, typer.Option("--url", envvar="CANARI_URL", help="The platform's address.")],
    name: Annotated[str, typer.Option(prompt=True, help="The account's name.")],
    password: Annotated[str, typer.Option(prompt=True, hide_input=True)],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Log in to a platform elsewhere: prints a token for 12 hours, to put into CANARI_API_TOKEN."""
    with gateway(settings_for(data_dir), url=url) as client:
        response = client.post("/api/session", json={"name": name, "password": password})
        me = checked(response)
    token = response.cookies[SESSION_COOKIE]
    emit(
        {"token": token, "scopes": me["scopes"], "expires_at": me["expires_at"]},
        as_json=as_json,
        text=f"{token}\n[dim]until {me['expires_at']}; commands take it from CANARI_API_TOKEN[/]",
    )


@tokens.command("create")
def create_token(
    subject: Annotated[str, typer.Argument(help="Who or what will bear it, as recorded with each prediction.")],
    scope: Scopes,
    model: Models = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="Days until it expires.")] = 90,
    note: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Sign a token. It is shown once, and not kept."""
    from canari.store import access

    _no_recording(scope)
    settings = settings_for(data_dir)
    with database(settings) as engine:
        token, identity = issue(
            signing_key(settings.keys),
            subject=subject,
            scopes=scope,
            models=model or [ALL_MODELS],
            lifetime=timedelta(days=days),
        )
        access.add_token(engine, identity, note)
    emit(
        {"token": token, "id": identity.token_id, "expires_at": identity.expires_at},
        as_json=as_json,
        text=f"{token}\n[dim]id {identity.token_id}, until {identity.expires_at:%Y-%m-%d}; it is not shown again[/]",
    )


@tokens.command("list")
def list_tokens(data_dir: DataDir = DEFAULT_DATA_DIR, as_json: AsJson = False) -> None:
    """List the tokens that have not expired."""
    from canari.store import access

    with database(settings_for(data_dir)) as engine:
        found = access.tokens(engine)
    rows = [
        (
            one.identity.token_id,
            one.identity.subject,
            ", ".join(sorted(one.identity.scopes)),
            ", ".join(sorted(one.identity.models)),
            f"{one.identity.expires_at:%Y-%m-%d}",
            "revoked" if one.revoked_at else "good",
            one.note,
        )
        for one in found
    ]
    columns = ["id", "subject", "scopes", "models", "until", "state", "note"]
    emit(
        [dict(zip(columns, row, strict=True)) for row in rows],
        as_json=as_json,
        text=table([column.upper() for column in columns], rows),
    )


@tokens.command("revoke")
def revoke_token(
    token_id: Annotated[str, typer.Argument(help="The token's id, as `canari token list` shows it.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Refuse a token from now on; within 30 seconds every part of the platform does."""
    from canari.store import access

    with database(settings_for(data_dir)) as engine:
        access.revoke(engine, token_id)
    emit({"revoked": token_id}, as_json=as_json, text=f"Token {token_id} is refused from now on.")


@accounts.command("create")
def create_account(
    name: Annotated[str, typer.Argument(help="The name to log in with.")],
    scope: Scopes,
    password: Annotated[str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True)],
    model: Models = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Make an account, or give an existing one a new password and rights."""
    from canari.store import access

    _no_recording(scope)
    with database(settings_for(data_dir)) as engine:
        access.put_account(engine, name, password, scopes=scope, models=model or [ALL_MODELS])
    emit({"account": name}, as_json=as_json, text=f"{name} may log in.")


@accounts.command("disable")
def disable_account(
    name: Annotated[str, typer.Argument(help="The account's name.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Let an account log in no more, and end its sessions."""
    from canari.store import access

    with database(settings_for(data_dir)) as engine:
        access.disable_account(engine, name)
    emit({"disabled": name}, as_json=as_json, text=f"{name} may log in no more.")


def _no_recording(scopes: list[Scope]) -> None:
    if Scope.RECORD in scopes:
        raise CanariError("the scope `record` is the bentos' own: the controller signs those tokens")
