"""One process that serves one bento: ``python -B -m canari.runtime.serve BENTO_DIR --uds PATH`` (or ``--port N``).

Started with ``BENTO_DIR/src`` as its working directory, it runs the bento's own frozen copy of this package. It answers
on its socket once the model is ready. On SIGTERM it stops accepting, finishes what is in flight, flushes and exits 0.
"""

from __future__ import annotations

import argparse
import os
import signal
import stat
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

# BentoML reads these when it is first imported; a serving process writes nothing outside its spool.
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
os.environ.setdefault("BENTOML_HOME", str(Path(tempfile.gettempdir(), f"bentoml-{os.getuid()}")))
sys.dont_write_bytecode = True

import bentoml  # noqa: E402
import uvicorn  # noqa: E402
from bentoml.exceptions import BentoMLException  # noqa: E402

from canari.errors import CanariError  # noqa: E402
from canari.runtime import logs  # noqa: E402

# Envoy keeps idle connections for an hour: were they closed here first, a request could meet the closing.
KEEP_ALIVE_SECONDS = 2 * 60 * 60


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; 0 after a clean stop, 1 with one line on standard error where it cannot start.

    Raises SystemExit(3), with the fault logged, where the model itself does not load.
    """
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _leave)
    try:
        logs.configure(os.environ.get("CANARI_LOG_FORMAT", "text"), os.environ.get("CANARI_LOG_LEVEL", "INFO").upper())
        _serve(options)
    except (CanariError, BentoMLException) as error:
        sys.stderr.write(f"canari.runtime.serve: {error}\n")
        return 1
    return 0


def _serve(options: argparse.Namespace) -> None:
    if options.uds:
        _remove_stale(options.uds)
    service: Any = bentoml.load(str(options.bento))
    config = uvicorn.Config(
        service.to_asgi(),
        uds=str(options.uds) if options.uds else None,
        host=options.host,
        port=options.port or 0,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=options.grace,
    )
    uvicorn.Server(config).run()


def _remove_stale(socket: Path) -> None:
    try:
        mode = socket.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise CanariError(f"{socket}: there is a file that is not a socket; remove it or choose another path")
    socket.unlink()


def _leave(_signal: int, _frame: FrameType | None) -> NoReturn:
    # uvicorn raises the signal again once it has drained; this makes that a clean exit.
    raise SystemExit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="canari.runtime.serve", description="Serve one bento from one process.")
    parser.add_argument("bento", type=Path, help="the folder of a built bento")
    address = parser.add_mutually_exclusive_group(required=True)
    address.add_argument("--uds", type=Path, help="the Unix socket to listen on")
    address.add_argument("--port", type=int, help="the TCP port to listen on")
    parser.add_argument("--host", default="127.0.0.1", help="with --port: the address (default: %(default)s)")
    parser.add_argument(
        "--grace", type=int, default=10, help="seconds for what is in flight after SIGTERM (default: %(default)s)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
