"""Tokens that were given out, and accounts with passwords."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, Row, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from canari.errors import CanariError
from canari.passwords import hash_password, is_dated, matches
from canari.store import tables as t
from canari.tokens import ALL_MODELS, Identity, Scope

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_LEAST_PASSWORD = 8


@dataclass(frozen=True, slots=True)
class Account:
    """A person who may log in."""

    name: str
    scopes: frozenset[Scope]
    models: frozenset[str]

    @property
    def subject(self) -> str:
        """Who the account's tokens say they are: never what a visitor or a token by hand is called."""
        return f"account:{self.name}"


@dataclass(frozen=True, slots=True)
class Token:
    """A token that was given out; its text is not kept."""

    identity: Identity
    note: str | None
    created_at: datetime
    revoked_at: datetime | None


def add_token(engine: Engine, identity: Identity, note: str | None = None) -> None:
    """Remember a token that was given out, so that it can be listed and revoked."""
    with engine.begin() as connection:
        connection.execute(
            insert(t.tokens).values(
                id=identity.token_id,
                subject=identity.subject,
                scopes=sorted(identity.scopes),
                models=sorted(identity.models),
                version=identity.version,
                note=note,
                expires_at=identity.expires_at,
            )
        )


def tokens(engine: Engine) -> list[Token]:
    """Every token that was given out and has not expired, newest first."""
    query = select(t.tokens).where(t.tokens.c.expires_at > func.now()).order_by(t.tokens.c.created_at.desc())
    with engine.connect() as connection:
        return [_token(row) for row in connection.execute(query)]


def revoke(engine: Engine, token_id: str) -> None:
    """Refuse a token from now on; raises CanariError where none has this id. Revoking twice is once."""
    statement = (
        update(t.tokens)
        .where(t.tokens.c.id == token_id)
        .values(revoked_at=func.coalesce(t.tokens.c.revoked_at, func.now()))
    )
    with engine.begin() as connection:
        if connection.execute(statement).rowcount == 0:
            raise CanariError(f"no token has the id {token_id!r}; `canari token list` shows those there are")


def revoked(engine: Engine) -> list[str]:
    """The ids of revoked tokens that would otherwise still be good."""
    query = select(t.tokens.c.id).where(t.tokens.c.revoked_at.is_not(None), t.tokens.c.expires_at > func.now())
    with engine.connect() as connection:
        return list(connection.execute(query).scalars())


def put_account(
    engine: Engine, name: str, password: str, *, scopes: Collection[Scope], models: Collection[str] = (ALL_MODELS,)
) -> Account:
    """Make an account, or give the one there is this password and these rights. Raises CanariError."""
    if not _NAME.fullmatch(name):
        raise CanariError(f"{name!r} is no account name: use up to 64 of a-z, 0-9, '.', '_' and '-', as in ada.l")
    if len(password) < _LEAST_PASSWORD:
        raise CanariError(f"the password has {len(password)} characters; it needs {_LEAST_PASSWORD} or more")
    values = {"password_hash": hash_password(password), "scopes": sorted(scopes), "models": sorted(models)}
    statement = upsert(t.accounts).values(name=name, **values)
    with engine.begin() as connection:
        connection.execute(
            statement.on_conflict_do_update(index_elements=[t.accounts.c.name], set_={**values, "disabled_at": None})
        )
    return Account(name, frozenset(scopes), frozenset(models))


def ensure_account(engine: Engine, name: str, password: str, *, scopes: Collection[Scope]) -> bool:
    """Have an account that this password opens; whether anything had to change. A disabled one stays as it is.

    Raises CanariError where the password is too short.
    """
    with engine.connect() as connection:
        row = connection.execute(select(t.accounts).where(t.accounts.c.name == name)).first()
    if row is not None and (row.disabled_at is not None or matches(row.password_hash, password)):
        return False
    put_account(engine, name, password, scopes=scopes)
    return True


def authenticate(engine: Engine, name: str, password: str) -> Account | None:
    """The account, if the password is its own and it is not disabled; an unknown name takes as long to refuse."""
    with engine.connect() as connection:
        row = connection.execute(select(t.accounts).where(t.accounts.c.name == name)).first()
    kept = row.password_hash if row is not None and row.disabled_at is None else None
    if not matches(kept, password) or row is None:
        return None
    if is_dated(row.password_hash):
        with engine.begin() as connection:
            connection.execute(
                update(t.accounts)
                .where(t.accounts.c.name == name, t.accounts.c.password_hash == row.password_hash)
                .values(password_hash=hash_password(password))
            )
    return Account(row.name, frozenset(map(Scope, row.scopes)), frozenset(row.models))


def disable_account(engine: Engine, name: str) -> None:
    """Let an account log in no more, and revoke its sessions; raises CanariError where there is none."""
    with engine.begin() as connection:
        done = connection.execute(
            update(t.accounts)
            .where(t.accounts.c.name == name)
            .values(disabled_at=func.coalesce(t.accounts.c.disabled_at, func.now()))
            .returning(t.accounts)
        ).first()
        if done is None:
            raise CanariError(f"there is no account {name!r}")
        subject = Account(name, frozenset(), frozenset()).subject
        connection.execute(
            update(t.tokens)
            .where(t.tokens.c.subject == subject, t.tokens.c.revoked_at.is_(None), t.tokens.c.expires_at > func.now())
            .values(revoked_at=func.now())
        )


def _token(row: Row[tuple[object, ...]]) -> Token:
    identity = Identity(
        token_id=row.id,
        subject=row.subject,
        scopes=frozenset(map(Scope, row.scopes)),
        models=frozenset(row.models),
        expires_at=row.expires_at,
        version=row.version,
    )
    return Token(identity, row.note, row.created_at, row.revoked_at)
