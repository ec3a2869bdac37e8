"""The token that a version records its predictions with."""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from canari.tokens import Scope, issue

LIFETIME = timedelta(days=365)


def bento_token(key: Ed25519PrivateKey, model: str, number: int) -> tuple[str, datetime]:
    """A token that can only append predictions of one version of one model, and when it ends."""
    token, identity = issue(
        key,
        subject=f"bento:{model}:{number}",
        scopes=[Scope.RECORD],
        models=[model],
        version=number,
        lifetime=LIFETIME,
    )
    return token, identity.expires_at
