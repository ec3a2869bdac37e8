"""Asking a server on a Unix socket whether it does its work: often, so it must cost next to nothing."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("unix", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def answers(path: Path, route: str, *, seconds: float = 2.0) -> bool:
    """Whether the server on socket `path` answers 200 to GET `route` within `seconds`."""
    connection = _UnixConnection(path, seconds)
    try:
        connection.request("GET", route)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
