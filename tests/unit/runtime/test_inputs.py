"""Inputs to be kept: taken by the policy, spooled beside the rows, shipped, and gone from this disk within a day."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from canari.ids import first_id, new_id
from canari.runtime import inputs
from canari.runtime.client import connect
from canari.runtime.inputs import Head, Keeper, discard, expire, media_type, pack, unpack
from canari.tokens import Scope
from tests.unit.runtime.kit import Client, FeedbackServer, build_app, photo, photo_spec, row_spec, token

OWNER = "colours/3"
KEEP = {"x-canari-consent": "keep"}
ROUTE = "/api/colours/predict"


class Gauges:
    """What a keeper shows."""

    def __init__(self) -> None:
        self.lost = 0

    def add_lost_inputs(self, count: int) -> None:
        self.lost += count


class Rig:
    """A keeper on a real folder before a real server."""

    def __init__(self, folder: Path, feedback: FeedbackServer) -> None:
        self.folder, self.feedback, self.gauges = folder, feedback, Gauges()
        self.rows = 0
        self.keepers: list[Keeper] = []

    def keeper(self, *, start: bool = True, **options: int) -> Keeper:
        client = connect(self.feedback.url, "bento-token", 2)
        made = Keeper(self.folder, OWNER, client, self.gauges, lambda: self.rows, **options)
        if start:
            made.start()
        self.keepers.append(made)
        return made

    def offer(self, keeper: Keeper, content: bytes = b"photo", made: UUID | None = None) -> bool:
        return keeper.offer(made or new_id(), "person", content, consented=True)

    def shipped(self, count: int) -> bool:
        return self.feedback.wait_for(lambda: len(self.feedback.inputs) >= count)

    def files(self, count: int, seconds: float = 5) -> list[Path]:
        """The finished files, once there are so many."""
        deadline = time.monotonic() + seconds
        while len(found := sorted(self.folder.glob("[!.]*"))) != count:
            assert time.monotonic() < deadline, found
            time.sleep(0.01)
        return found

    def lost(self, count: int, seconds: float = 5) -> bool:
        """Whether so many count as lost, after a while."""
        deadline = time.monotonic() + seconds
        while self.gauges.lost != count and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.gauges.lost == count


@pytest.fixture
def rig(tmp_path: Path, feedback: FeedbackServer) -> Iterator[Rig]:
    made = Rig(tmp_path / "spool" / "inputs", feedback)
    yield made
    for keeper in made.keepers:
        keeper.close(0)


def ask(rig: Rig, tmp_path: Path, retain: str, **options: Any) -> httpx.Response:
    spec = photo_spec(data={"retain_inputs": retain})
    client = Client(build_app(tmp_path, spec, keeper=None if retain == "never" else rig.keeper()))
    return client.post(ROUTE, **{"content": photo(), **options})


@pytest.mark.parametrize(
    ("retain", "headers", "kept"),
    [
        ("never", KEEP, None),
        ("consented", {}, None),
        ("consented", {"x-canari-consent": "yes"}, None),
        ("consented", KEEP, True),
        ("always", {}, False),
        ("always", KEEP, True),
    ],
)
def test_the_policy_and_the_senders_consent_decide(
    rig: Rig, tmp_path: Path, retain: str, headers: dict[str, str], kept: bool | None
) -> None:
    answer = ask(rig, tmp_path, retain, headers=headers)
    assert answer.json().get("kept", False) is (kept is not None)
    if kept is None:
        assert rig.feedback.inputs == []
        assert not list(rig.folder.glob("*")) if rig.folder.exists() else True
        return
    assert rig.shipped(1)
    [(head, content)] = rig.feedback.inputs
    assert str(head.prediction_id) == answer.json()["prediction_id"]
    assert (content, head.media_type, head.consented) == (photo(), "image/jpeg", kept)
    assert rig.files(0) == []


@pytest.mark.parametrize(("value", "kept"), [("keep", True), ("no", False)])
def test_a_form_says_it_in_a_field(rig: Rig, tmp_path: Path, value: str, kept: bool) -> None:
    request = httpx.Request("POST", "http://x", files={"file": photo()}, data={"consent": value})
    answer = ask(rig, tmp_path, "consented", content=request.read(), headers=dict(request.headers))
    assert answer.status_code == 200
    assert answer.json().get("kept", False) is kept


def test_refused_inputs_and_mirrored_copies_are_not_kept(rig: Rig, tmp_path: Path) -> None:
    assert ask(rig, tmp_path, "always", content=b"no photo").status_code in {400, 415, 422}
    answer = ask(rig, tmp_path, "always", headers={"x-canari-arm": "1.0.2"})
    assert (answer.status_code, "kept" in answer.json()) == (200, False)
    assert rig.feedback.inputs == []


@pytest.mark.parametrize("kind", ["tabular", "audio"])
def test_voice_and_rows_of_numbers_are_never_kept(kind: str) -> None:
    spec = row_spec(data={"retain_inputs": "always"})
    assert spec.retains == "never"
    heard = spec.model_copy(update={"input": spec.input.model_copy(update={"kind": kind})})
    assert heard.retains == "never"


def test_the_subject_is_the_tokens(rig: Rig, tmp_path: Path) -> None:
    bearer = {"authorization": f"Bearer {token(Scope.PREDICT)}", **KEEP}
    ask(rig, tmp_path, "consented", headers=bearer)
    assert rig.shipped(1)
    assert rig.feedback.inputs[0][0].subject == "person"
    assert rig.feedback.authorizations == {"Bearer bento-token"}


def test_what_the_platform_cannot_take_now_waits_on_disk_for_this_user_alone(rig: Rig) -> None:
    rig.feedback.input_status = 503
    keeper = rig.keeper()
    made = [new_id() for _ in range(3)]
    assert all(rig.offer(keeper, b"photo %d" % n, one) for n, one in enumerate(made))
    files = rig.files(3)
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in files)
    assert rig.folder.stat().st_mode & 0o777 == 0o700
    assert not keeper.close(0.1)
    rig.feedback.input_status = 201
    rig.keeper()
    assert rig.shipped(3)
    assert [head.prediction_id for head, _ in rig.feedback.inputs] == made
    assert rig.files(0) == []


@pytest.mark.parametrize(("status", "lost"), [(200, 0), (204, 0), (404, 1), (413, 1), (422, 1)])
def test_an_answer_for_good_ends_it_and_a_refusal_counts_as_lost(rig: Rig, status: int, lost: int) -> None:
    rig.feedback.input_status = status
    keeper = rig.keeper()
    rig.offer(keeper)
    assert keeper.close(5)
    assert rig.files(0) == []
    assert rig.gauges.lost == lost


def test_rows_have_the_place_first_and_the_oldest_input_makes_room(rig: Rig) -> None:
    rig.feedback.input_status = 503
    keeper = rig.keeper(start=False, limit=100)
    assert rig.offer(keeper, b"x" * 60)
    assert not rig.offer(keeper, b"y" * 50)
    assert rig.gauges.lost == 1
    assert rig.offer(keeper, b"z" * 30)
    [first, _] = rig.files(2)
    rig.rows = 60
    keeper.start()
    assert rig.files(1) != [first]
    assert rig.lost(2)
    assert not rig.offer(keeper, b"x" * inputs.MOST_BYTES)


def test_what_waited_for_a_day_goes_unsent_also_of_a_dead_process(rig: Rig) -> None:
    rig.folder.mkdir(parents=True)
    now = datetime.now(UTC)
    for hours in (30, 25, 23):
        head = Head(first_id(now - timedelta(hours=hours)), "person", "image/jpeg", consented=True, bytes=5)
        (rig.folder / f"colours-3.{head.prediction_id}.input").write_bytes(pack(head, b"photo"))
    rig.keeper()
    assert rig.shipped(1)
    assert rig.files(0) == []
    assert len(rig.feedback.inputs) == 1
    assert rig.lost(2)


def test_a_torn_file_and_anothers_are_not_sent(rig: Rig) -> None:
    rig.folder.mkdir(parents=True)
    whole = pack(Head(new_id(), "person", "image/jpeg", consented=True, bytes=5), b"photo")
    (rig.folder / f"colours-3.{new_id()}.input").write_bytes(whole[:-1])
    other = rig.folder / f"colours-4.{new_id()}.input"
    other.write_bytes(whole)
    unfinished = rig.folder / f".colours-3.{new_id()}.input"
    unfinished.write_bytes(whole[:9])
    os.utime(unfinished, (0, 0))
    keeper = rig.keeper()
    assert rig.offer(keeper)
    assert rig.shipped(1)
    assert rig.files(1) == [other]


def test_a_policy_that_keeps_none_deletes_what_waits_and_the_old_goes_whoever_left_it(tmp_path: Path) -> None:
    mine, others = tmp_path / f"colours-3.{new_id()}.input", tmp_path / f"drift-3.{new_id()}.input"
    for path in (mine, others):
        path.touch()
    assert discard(tmp_path, OWNER) == 1
    assert list(tmp_path.iterdir()) == [others]
    assert expire(tmp_path) == 0
    os.utime(others, (0, 0))
    assert expire(tmp_path) == 1
    assert discard(tmp_path / "none") == 0


def test_what_is_packed_is_unpacked_and_nothing_else() -> None:
    head = Head(new_id(), "Zoë\n✓", "text/plain", consented=False, bytes=3)
    assert unpack(pack(head, b"a\nb")) == (head, b"a\nb")
    for wrong in (b"", b"{}\n", b"no json\nabc", pack(head, b"a\nb")[:-1], pack(head, b"a\nb") + b"c"):
        with pytest.raises(ValueError, match=r".+"):
            unpack(wrong)


def test_the_media_type_is_seen_by_the_first_bytes() -> None:
    for kind, expected in (("JPEG", "jpeg"), ("PNG", "png"), ("GIF", "gif"), ("BMP", "bmp"), ("WEBP", "webp")):
        assert media_type(photo(kind=kind)) == f"image/{expected}"
    assert media_type(b"<svg onload='alert(1)'>") == "text/plain"
