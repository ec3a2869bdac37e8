"""`python -m services.feedback --uds PATH` or `--port N`: the feedback API, its settings from `CANARI_*`."""

from __future__ import annotations

import sys
from threading import Thread

from loguru import logger

from canari.archives import archives, sweep
from canari.errors import CanariError
from canari.keys import signing_key
from canari.runtime.logs import configure
from canari.settings import Settings
from canari.store.engine import connect
from canari.store.migrate import wait_for_schema
from services.feedback.app import THREADS, create_app
from services.feedback.context import Context
from services.web.server import address_arguments, serve

_SCHEMA_SECONDS = 300.0


def main() -> None:
    """Read the settings, open what is needed, and serve."""
    address = address_arguments("services.feedback", "The feedback API.")
    settings = Settings()
    configure(settings.log_format, settings.log_level)
    context = _context(settings)
    wait_for_schema(context.engine, seconds=_SCHEMA_SECONDS, tell=lambda what: logger.info("waiting for {}", what))
    sweep(context.archives.staging)
    Thread(target=_go_on_erasing, args=(context,), name="erasures", daemon=True).start()
    serve(create_app(context), address)


def _go_on_erasing(context: Context) -> None:
    """Tombstones come before a restored database, and what a killed process began to erase is erased."""
    try:
        found = context.eraser.resume()
    except Exception:  # noqa: BLE001 - the retention job tries again, and an open erasure is alerted on
        logger.opt(exception=True).error("erasures could not be gone on with")
    else:
        if found.done or found.still_open:
            logger.info("{} erasures that had been begun are done, {} are open", found.done, found.still_open)


def _context(settings: Settings) -> Context:
    if settings.database_url is None:
        raise CanariError("CANARI_DATABASE_URL is not set: give the application role's URL, postgresql://...")
    return Context(
        engine=connect(settings.database_url, pool=THREADS),
        key=signing_key(settings.keys),
        archives=archives(settings.archives_url, settings.layout.archives),
        layout=settings.layout,
        archive_max_bytes=settings.archive_max_bytes,
        secure_cookies=settings.secure_cookies,
    )


if __name__ == "__main__":
    try:
        main()
    except CanariError as fault:
        sys.exit(f"canari feedback: {fault}")
