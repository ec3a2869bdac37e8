"""A light load generator: keep-alive HTTP/1.1 over asyncio streams, with requests made beforehand."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from uuid import uuid4

from canari.errors import CanariError

WARM_UP_SECONDS = 1.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Turn:
    """What one server did in its turn: answers per second, latencies in ms, and the generator's share of all CPUs."""

    rate: float
    p50_ms: float
    p99_ms: float
    generator_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Server:
    """Where to ask (a Unix socket, or a port of this machine), and the requests to send in turn."""

    address: Path | int
    requests: Sequence[bytes]

    def run(self, seconds: float, concurrency: int) -> Turn:
        """Keep `concurrency` requests under way; raises CanariError at an answer other than 200."""
        return asyncio.run(_run(self, seconds, concurrency))

    def try_each(self) -> None:
        """Ask each request once, one after the other; raises OSError where nothing listens yet."""
        asyncio.run(_ask_each(self))


@dataclass(slots=True)
class Window:
    """Counts what ends between two moments of time.perf_counter(): the load goes on before and a little after."""

    opens: float
    closes: float
    latencies: list[float] = field(default_factory=list)

    def note(self, started: float, ended: float) -> None:
        """One answer."""
        if self.opens <= ended < self.closes:
            self.latencies.append((ended - started) * 1000)

    def turn(self, generator_share: float = 0.0) -> Turn:
        """What was counted; raises CanariError where it is too little to tell anything."""
        if len(self.latencies) < 2:
            raise CanariError("hardly a request was answered in its turn: give --seconds a larger number")
        percentiles = quantiles(self.latencies, n=100, method="inclusive")
        rate = len(self.latencies) / (self.closes - self.opens)
        return Turn(rate, percentiles[49], percentiles[98], generator_share)


def raw_request(path: str, photo: bytes) -> bytes:
    """A POST of a photo as its body."""
    return _request(path, "image/jpeg", photo)


def form_request(path: str, name: str, photo: bytes) -> bytes:
    """A POST of a photo as the file `name` of a form."""
    boundary = uuid4().hex
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="photo.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    body = head.encode() + photo + f"\r\n--{boundary}--\r\n".encode()
    return _request(path, f"multipart/form-data; boundary={boundary}", body)


def _request(path: str, content_type: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def _run(server: Server, seconds: float, concurrency: int) -> Turn:
    opens = time.perf_counter() + WARM_UP_SECONDS
    window = Window(opens, opens + seconds)
    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(_keep_asking(server, place, concurrency, window) for place in range(concurrency)))
    share = (time.process_time() - cpu) / (time.perf_counter() - wall) / (os.cpu_count() or 1)
    return window.turn(share)


async def _keep_asking(server: Server, place: int, step: int, window: Window) -> None:
    connection = await _connect(server.address)
    try:
        while (started := time.perf_counter()) < window.closes:
            await _ask(connection, server.requests[place % len(server.requests)])
            window.note(started, time.perf_counter())
            place += step
    finally:
        connection[1].close()


async def _ask_each(server: Server) -> None:
    connection = await _connect(server.address)
    try:
        for request in server.requests:
            await _ask(connection, request)
    finally:
        connection[1].close()


async def _connect(address: Path | int) -> _Connection:
    if isinstance(address, int):
        return await asyncio.open_connection("127.0.0.1", address)
    return await asyncio.open_unix_connection(address)


async def _ask(connection: _Connection, request: bytes) -> None:
    reader, writer = connection
    writer.write(request)
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        raise CanariError("a server under test closed the connection without an answer") from None
    length = _LENGTH.search(head)
    body = await reader.readexactly(int(length[1])) if length else b""
    status = head.split(maxsplit=2)[1]
    if status != b"200" or length is None:
        raise CanariError(f"a server under test answered {status.decode()}: {body[:300].decode(errors='replace')}")
