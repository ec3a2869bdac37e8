"""`python -m services.feedback --uds PATH`: the feedback API on a Unix socket, its settings from `CANARI_*`."""

from __future__ import annotations

import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from canari.errors import CanariError
from canari.runtime.logs import configure
from canari.settings import Settings
from canari.store.engine import connect
from services.feedback.app import THREADS, create_app
from services.feedback.context import Context
from services.web.server import serve, socket_argument


def main() -> None:
    """Read the settings, open what is needed, and serve."""
    uds = socket_argument("services.feedback", "The feedback API.")
    settings = Settings()
    configure(settings.log_format, settings.log_level)
    serve(create_app(_context(settings)), uds)


def _context(settings: Settings) -> Context:
    if settings.database_url is None:
        raise CanariError("CANARI_DATABASE_URL is not set: give the application role's URL, postgresql://...")
    return Context(
        engine=connect(settings.database_url, pool=THREADS),
        key=_signing_key(settings),
        archives=settings.layout.archives,
        secure_cookies=settings.secure_cookies,
    )


def _signing_key(settings: Settings) -> Ed25519PrivateKey:
    file = settings.layout.keys / "signing.pem"
    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except OSError as error:
        raise CanariError(f"{file} cannot be read: {error.strerror}; the controller makes it at its start") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise CanariError(f"{file} does not hold an Ed25519 key")
    return key


if __name__ == "__main__":
    try:
        main()
    except CanariError as fault:
        sys.exit(f"canari feedback: {fault}")
