import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from canari.errors import CanariError
from services.bench.load import Server, Window, form_request, raw_request


@contextmanager
def answering(answer: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """A server that gives every request one answer; yields its port and the bodies it was sent."""
    bodies: list[bytes] = []
    loop = asyncio.new_event_loop()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                bodies.append(await reader.readexactly(length))
                writer.write(answer)
        except asyncio.IncompleteReadError:
            writer.close()

    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1], bodies
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()


def test_every_photo_is_asked_about_and_the_answers_are_counted() -> None:
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}") as (port, bodies):
        turn = Server(port, [raw_request("/", name) for name in (b"one", b"two", b"three")]).run(0.3, concurrency=2)
    assert turn.rate > 50
    assert 0 < turn.p50_ms <= turn.p99_ms
    assert 0 < turn.generator_share <= 1
    assert set(bodies) == {b"one", b"two", b"three"}


def test_an_answer_that_is_no_200_ends_the_bench_and_is_shown() -> None:
    with answering(b"HTTP/1.1 422 No\r\nContent-Length: 9\r\n\r\nno photo!") as (port, _):
        with pytest.raises(CanariError, match="422: no photo!"):
            Server(port, [raw_request("/", b"x")]).run(0.2, concurrency=1)
        with pytest.raises(CanariError, match="422"):
            Server(port, [raw_request("/", b"x")]).try_each()


def test_a_form_holds_the_photo_under_its_name() -> None:
    request = form_request("/predict", "photo", b"\xff\xd8 bytes")
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /predict HTTP/1.1\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b'name="photo"; filename=' in body
    assert b"\r\n\r\n\xff\xd8 bytes\r\n--" in body


def test_only_what_ends_inside_the_window_counts() -> None:
    window = Window(opens=10.0, closes=12.0)
    for started, ended in ((9.5, 9.9), (9.9, 10.1), (10.0, 10.5), (11.0, 11.9), (11.9, 12.0)):
        window.note(started, ended)
    turn = window.turn()
    assert turn.rate == pytest.approx(1.5)
    assert turn.p50_ms == pytest.approx(500)


def test_a_turn_too_short_to_tell_anything_is_refused() -> None:
    with pytest.raises(CanariError, match="--seconds"):
        Window(0, 1).turn()
