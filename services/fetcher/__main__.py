"""`python -m services.fetcher --uds PATH` or `--port N`: the fetcher, its settings from `CANARI_*`."""

from __future__ import annotations

import sys

from pydantic import ValidationError

from canari.errors import CanariError
from canari.runtime.logs import configure
from services.fetcher.app import create_app, gateway_client
from services.fetcher.fetch import Fetcher, Limits
from services.fetcher.settings import FetcherSettings
from services.web.server import address_arguments, serve


def main() -> None:
    """Read the settings and serve."""
    address = address_arguments("services.fetcher", "Photos by their address.")
    settings = _settings()
    configure(settings.log_format, settings.log_level)
    limits = Limits(
        max_bytes=settings.fetcher_max_bytes,
        seconds=settings.fetcher_timeout,
        connect_seconds=settings.fetcher_connect_timeout,
        ports=frozenset(settings.fetcher_ports),
        allowed=settings.fetcher_allow_private,
    )
    gateway = gateway_client(settings.gateway_url)
    serve(create_app(Fetcher(limits), gateway, places=settings.fetcher_concurrency), address)


def _settings() -> FetcherSettings:
    try:
        return FetcherSettings()
    except ValidationError as error:
        [first, *_] = error.errors()
        raise CanariError(f"CANARI_{str(first['loc'][0]).upper()}: {first['msg']}") from None


if __name__ == "__main__":
    try:
        main()
    except CanariError as fault:
        sys.exit(f"canari fetcher: {fault}")
