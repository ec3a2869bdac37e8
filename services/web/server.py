"""Running an application on a Unix socket."""

from __future__ import annotations

import argparse
import signal
import socket
import sys
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from canari.errors import CanariError

# The gateway closes idle connections after 30 s. Ours last longer, so that it never sends into one just closed here.
_KEEP_ALIVE_SECONDS = 75
_GRACE_SECONDS = 10


def socket_argument(program: str, description: str) -> Path:
    """The `--uds PATH` of the command line."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    parser.add_argument("--uds", type=Path, required=True, metavar="PATH", help="the Unix socket to answer on")
    path: Path = parser.parse_args().uds
    return path


def serve(app: ASGIApp, uds: Path) -> None:
    """Answer on the socket `uds` until SIGTERM, then finish what is in flight. Raises CanariError where it is taken."""
    _free(uds)
    # uvicorn raises the signal again once it has shut down in order: that is an end in order, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.run(
        app,
        uds=str(uds),
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
