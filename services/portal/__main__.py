"""`python -m services.portal --uds PATH` or `--port N`: the portal, its settings from `CANARI_*`."""

from __future__ import annotations

import sys

from canari.errors import CanariError
from canari.runtime.logs import configure
from canari.settings import Settings
from services.portal.app import create_app
from services.web.server import address_arguments, serve


def main() -> None:
    """Read the settings and serve."""
    address = address_arguments("services.portal", "The web pages.")
    settings = Settings()
    configure(settings.log_format, settings.log_level)
    serve(create_app(secure_cookies=settings.secure_cookies), address)


if __name__ == "__main__":
    try:
        main()
    except CanariError as fault:
        sys.exit(f"canari portal: {fault}")
