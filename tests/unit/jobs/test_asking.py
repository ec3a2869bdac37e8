import io
import json
from datetime import UTC, datetime

import httpx
import pytest
from PIL import Image

from canari.errors import CanariError
from canari.spec import Input, InputKind
from services.jobs.asking import Patience, lacks, sample_input
from services.jobs.evaluate import window
from tests.unit.jobs.kit import Clock

NOW = datetime(2026, 3, 4, 5, 6, 7, 890, tzinfo=UTC)


def test_what_is_waited_for_is_told_once_per_reason_until_it_is_there() -> None:
    reasons = iter(["it starts", "it starts", "it loads", None])
    told: list[str] = []
    clock = Clock()
    Patience(60, told.append, clock, clock.sleep).until("the model", lambda: next(reasons))
    assert told == ["waiting for the model: it starts", "waiting for the model: it loads"]


def test_all_waits_share_one_deadline_and_its_end_is_told_with_the_last_reason() -> None:
    clock = Clock()
    patience = Patience(10, lambda _: None, clock, clock.sleep)
    patience.until("the first", lambda: None if clock.now > 7 else "not yet")
    with pytest.raises(CanariError, match="after 10 s still waiting for the second: it is away"):
        patience.until("the second", lambda: "it is away")
    assert clock.now < 13


def answering(status: int, body: bytes) -> httpx.Client:
    transport = httpx.MockTransport(lambda _: httpx.Response(status, content=body))
    return httpx.Client(transport=transport, base_url="http://gateway")


def away(_: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")


def test_what_an_answer_lacks_is_told_in_its_own_words() -> None:
    assert lacks(answering(200, b"{}"), "GET", "/") is None
    assert (
        lacks(answering(503, json.dumps({"detail": "No version yet."}).encode()), "GET", "/") == "503 No version yet."
    )
    assert lacks(answering(404, b"no route"), "GET", "/") == "404 no route"
    silent = httpx.Client(transport=httpx.MockTransport(away), base_url="http://gateway")
    assert lacks(silent, "GET", "/") == "http://gateway does not answer (refused)"


def test_a_sample_input_is_what_the_model_takes() -> None:
    row, kind = sample_input(Input(kind=InputKind.TABULAR, features=("x1", "x2")))
    assert (json.loads(row), kind) == ({"x1": 0.0, "x2": 0.0}, "application/json")
    photo, kind = sample_input(Input(kind=InputKind.IMAGE, size=(180, 120)))
    with Image.open(io.BytesIO(photo)) as image:
        assert (image.size, image.format, kind) == ((120, 180), "PNG", "image/png")
    with pytest.raises(CanariError, match="no sample of a audio input"):
        sample_input(Input(kind=InputKind.AUDIO))


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        ("24h", None, ("2026-03-03T05:06:07", "2026-03-04T05:06:07")),
        ("7d", "2026-03-02T00:00:00Z", ("2026-02-23T00:00:00", "2026-03-02T00:00:00")),
        ("2026-03-01", "2026-03-02", ("2026-03-01T00:00:00", "2026-03-02T00:00:00")),
        ("2026-03-04T00:00+02:00", None, ("2026-03-03T22:00:00", "2026-03-04T05:06:07")),
    ],
)
def test_a_window_begins_so_long_before_its_end_or_at_a_moment(
    since: str, until: str | None, expected: tuple[str, str]
) -> None:
    assert tuple(f"{moment:%Y-%m-%dT%H:%M:%S}" for moment in window(since, until, NOW)) == expected


@pytest.mark.parametrize(
    ("since", "until", "told"),
    [
        ("yesterday", None, "neither a duration"),
        ("24h", "soon", "neither a duration"),
        ("2027-01-01", None, "would begin at 2027-01-01 00:00"),
        ("0h", None, "would begin at"),
    ],
)
def test_a_window_that_is_none_is_refused(since: str, until: str | None, told: str) -> None:
    with pytest.raises(CanariError, match=told):
        window(since, until, NOW)
