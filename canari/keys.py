"""The platform's signing key: made once and kept for this user alone on a laptop, a mounted Secret on a cluster."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from canari.errors import CanariError
from canari.tokens import new_key, private_pem

SIGNING_KEY = "signing.pem"


def signing_key(folder: Path) -> Ed25519PrivateKey:
    """The key in `folder`; raises CanariError where there is none or it is no Ed25519 key."""
    file = folder / SIGNING_KEY
    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except FileNotFoundError:
        raise CanariError(
            f"there is no signing key {file}: start the platform once with `canari up`, or name its folder in "
            f"CANARI_KEYS_DIR"
        ) from None
    except OSError as error:
        raise CanariError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError:
        raise CanariError(f"{file} is not a private key in PEM: put the platform's own back") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise CanariError(f"{file} is not an Ed25519 key")
    return key


def ensure_signing_key(folder: Path) -> Ed25519PrivateKey:
    """The key in `folder`, made first where there is none."""
    file = folder / SIGNING_KEY
    if not file.exists():
        fresh = file.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as output:
            output.write(private_pem(new_key()))
        fresh.replace(file)
    return signing_key(folder)
