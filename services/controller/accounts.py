"""The laptop's sample accounts: made at the first start, with passwords drawn at random and kept beside the keys."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

from sqlalchemy import Engine

from canari.store import access
from canari.tokens import Scope

FILE = "sample-accounts.json"
_SCOPES = {
    "visitor": (Scope.PREDICT, Scope.FEEDBACK),
    "curator": (Scope.PREDICT, Scope.FEEDBACK, Scope.CURATE),
    "operator": (Scope.PREDICT, Scope.FEEDBACK, Scope.CURATE, Scope.OPERATE),
    "admin": (Scope.ADMIN,),
}


def ensure_sample_accounts(engine: Engine, keys: Path) -> None:
    """Make one account per role, once; their passwords are in `keys`, readable by this user alone."""
    file = keys / FILE
    if file.exists():
        return
    passwords = {name: secrets.token_urlsafe(12) for name in _SCOPES}
    for name, scopes in _SCOPES.items():
        access.put_account(engine, name, passwords[name], scopes=scopes)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as output:
        json.dump(passwords, output, indent=1)
