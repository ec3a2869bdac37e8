"""Running an application on a Unix socket, as on one machine, or on a port, as in a pod."""

from __future__ import annotations

import argparse
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from canari.errors import CanariError

# The gateway closes idle connections after 30 s. Ours last longer, so that it never sends into one just closed here.
_KEEP_ALIVE_SECONDS = 75
_GRACE_SECONDS = 10
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a service answers: on the Unix socket `uds`, else on `port` of `host`."""

    uds: Path | None = None
    host: str = _LOOPBACK
    port: int = 0


def address_arguments(program: str, description: str) -> Address:
    """The address the command line gives: `--uds PATH`, or `--port N [--host ADDRESS]`."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--uds", type=Path, metavar="PATH", help="the Unix socket to answer on")
    where.add_argument("--port", type=_port, metavar="N", help="the TCP port to answer on")
    parser.add_argument("--host", metavar="ADDRESS", help="with --port: the address, 0.0.0.0 for all (127.0.0.1)")
    given = parser.parse_args()
    if given.uds is not None and given.host is not None:
        parser.error("--host goes with --port, not with --uds")
    return Address(given.uds, given.host or _LOOPBACK, given.port or 0)


def serve(app: ASGIApp, address: Address) -> None:
    """Answer at `address` until SIGTERM, then finish what is in flight. Raises CanariError where it is taken."""
    listening = _listening(address)
    # uvicorn raises the signal again once it has shut down in order: that is an end in order, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.run(
        app,
        **listening,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give a number from 1 to 65535")
    return int(text)


def _listening(address: Address) -> dict[str, Any]:
    if address.uds is not None:
        _free(address.uds)
        return {"uds": str(address.uds)}
    with socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            where = f"port {address.port} of {address.host}"
            raise CanariError(f"{where} is not free ({error.strerror}): stop what uses it, or give another") from None
    return {"host": address.host, "port": address.port}


def _free(uds: Path) -> None:
    """Take away the socket file that a killed process left."""
    if not uds.exists():
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(uds))
        except ConnectionRefusedError:
            uds.unlink(missing_ok=True)
            return
    raise CanariError(f"another process answers on {uds}: stop it, or give another path")
