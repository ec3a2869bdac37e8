"""Passwords, kept as Argon2id hashes (RFC 9106, its low-memory profile)."""

from __future__ import annotations

from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

_HASHER = PasswordHasher()


def hash_password(password: str) -> str:
    """The hash to keep; it holds its own salt and parameters."""
    return _HASHER.hash(password)


def matches(kept: str | None, password: str) -> bool:
    """Whether `password` is the one whose hash was kept; None, for no such account, takes as long to say no."""
    try:
        return _HASHER.verify(kept or _nobody(), password) and kept is not None
    except (VerificationError, InvalidHashError):
        return False


def is_dated(kept: str) -> bool:
    """Whether the hash was made with other parameters than a new one would be."""
    return _HASHER.check_needs_rehash(kept)


@cache
def _nobody() -> str:
    return hash_password("")
