"""Who may do what: Ed25519-signed tokens (RFC 7519 JSON Web Tokens, RFC 8037 EdDSA), verified with a public key alone.

A token names a subject, its scopes, the models it is for and when it ends. A bento's own token is bound to one model
and version besides, and can only append predictions. Sessions are the same tokens in a cookie.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from canari.errors import Problem

ISSUER = "canari"
ALL_MODELS = "*"
SESSION_COOKIE = "canari_session"
VISITOR = "visitor:"


class Scope(StrEnum):
    """What a token lets its bearer do."""

    PREDICT = "predict"
    FEEDBACK = "feedback"
    CURATE = "curate"
    OPERATE = "operate"
    ADMIN = "admin"
    RECORD = "record"


@dataclass(frozen=True, slots=True)
class Identity:
    """The bearer of a verified token. `version` is set on a bento's token only."""

    token_id: str
    subject: str
    scopes: frozenset[Scope]
    models: frozenset[str]
    expires_at: datetime
    version: int | None = None

    def may(self, scope: Scope, model: str | None = None) -> bool:
        """Whether the bearer holds `scope` (or admin) for `model`. A bento's `record` is never implied by admin."""
        holds = scope in self.scopes or (Scope.ADMIN in self.scopes and scope is not Scope.RECORD)
        return holds and (model is None or ALL_MODELS in self.models or model in self.models)

    @property
    def visitor(self) -> bool:
        """Whether the token only tells one unnamed visitor from another: it opens what is open to anyone."""
        return self.subject.startswith(VISITOR)


def new_key() -> Ed25519PrivateKey:
    """A fresh signing key."""
    return Ed25519PrivateKey.generate()


def private_pem(key: Ed25519PrivateKey) -> bytes:
    """The signing key as unencrypted PKCS #8 PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_pem(key: Ed25519PrivateKey) -> bytes:
    """What verifiers need, as SubjectPublicKeyInfo PEM."""
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def issue(
    key: Ed25519PrivateKey,
    *,
    subject: str,
    scopes: Collection[Scope],
    models: Collection[str] = (ALL_MODELS,),
    lifetime: timedelta,
    version: int | None = None,
    now: datetime | None = None,
) -> tuple[str, Identity]:
    """Sign a token; returns it with the identity it carries."""
    moment = now or datetime.now(UTC)
    identity = Identity(
        token_id=str(uuid4()),
        subject=subject,
        scopes=frozenset(scopes),
        models=frozenset(models),
        expires_at=(moment + lifetime).replace(microsecond=0),
        version=version,
    )
    claims = {
        "iss": ISSUER,
        "jti": identity.token_id,
        "sub": subject,
        "scp": sorted(identity.scopes),
        "mdl": sorted(identity.models),
        "iat": int(moment.timestamp()),
        "exp": int(identity.expires_at.timestamp()),
    }
    if version is not None:
        claims["ver"] = version
    return jwt.encode(claims, key, algorithm="EdDSA"), identity


class Verifier:
    """Verifies tokens locally: signature, issuer, expiry, and a list of revoked ids that others keep fresh."""

    def __init__(self, public_key_pem: bytes) -> None:
        key = serialization.load_pem_public_key(public_key_pem)
        if not isinstance(key, Ed25519PublicKey):
            msg = "the public key is not an Ed25519 key"
            raise TypeError(msg)
        self._key = key
        self._known: dict[str, Identity] = {}
        self.revoked: frozenset[str] = frozenset()

    def verify(self, token: str) -> Identity:
        """The identity a token carries; raises Problem 401 with what is wrong with it."""
        identity = self._known.get(token)
        if identity is None:
            identity = self._decode(token)
            if len(self._known) >= 4096:
                self._known.clear()
            self._known[token] = identity
        if identity.expires_at <= datetime.now(UTC):
            raise _unauthorised("The token has expired: ask for a new one.")
        if identity.token_id in self.revoked:
            raise _unauthorised("The token has been revoked: ask for a new one.")
        return identity

    def _decode(self, token: str) -> Identity:
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=["EdDSA"],
                issuer=ISSUER,
                options={"require": ["exp", "iat", "jti", "sub", "iss"]},
            )
            return Identity(
                token_id=claims["jti"],
                subject=claims["sub"],
                scopes=frozenset(Scope(s) for s in claims.get("scp", ())),
                models=frozenset(claims.get("mdl", ())),
                expires_at=datetime.fromtimestamp(claims["exp"], tz=UTC),
                version=claims.get("ver"),
            )
        except jwt.ExpiredSignatureError:
            raise _unauthorised("The token has expired: ask for a new one.") from None
        except (jwt.InvalidTokenError, ValueError, TypeError):
            raise _unauthorised("The token is not one of this platform's.") from None


def bearer(authorization: str | None, session_cookie: str | None) -> str | None:
    """The token of a request: the `Authorization: Bearer` header before the session cookie."""
    if authorization:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise _unauthorised("The Authorization header must read: Bearer TOKEN.")
        return token.strip()
    return session_cookie or None


def _unauthorised(detail: str) -> Problem:
    return Problem(401, "unauthorised", detail, headers={"WWW-Authenticate": 'Bearer realm="canari"'})
