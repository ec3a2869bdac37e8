from __future__ import annotations

import json
import resource
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from loguru import logger

from canari.ids import first_id, new_id
from canari.runtime import recorder as module
from canari.runtime.client import connect
from canari.runtime.recorder import Recorder
from canari.runtime.spool import Lock, segment
from canari.types import Prediction, RequestKind
from tests.unit.runtime.kit import FeedbackServer

OWNER = "colours/3"


class Gauges:
    """What a recorder shows."""

    def __init__(self) -> None:
        self.spool_bytes = 0
        self.lost = 0

    def set_spool_bytes(self, count: int) -> None:
        self.spool_bytes = count

    def add_lost(self, count: int) -> None:
        self.lost += count


class Rig:
    """A recorder on a real spool before a real server."""

    def __init__(self, folder: Path, feedback: FeedbackServer, **options: int) -> None:
        self.gauges = Gauges()
        self.recorder = Recorder(folder, OWNER, connect(feedback.url, "bento-token", 2), self.gauges, **options)

    def record(self, count: int = 1, label: str = "red") -> list[Prediction]:
        predictions = [self._prediction(label) for _ in range(count)]
        self.recorder.append(predictions)
        return predictions

    def _prediction(self, label: str) -> Prediction:
        return Prediction(
            id=new_id(),
            recorder=self.recorder.id,
            seq=self.recorder.next_seq(),
            kind=RequestKind.ARM,
            rollout=7,
            step=2,
            subject="person",
            status=200,
            request_id="r",
            input_bytes=10,
            latency_ms=1.5,
            label=label,
            score=0.75,
            scores={label: 0.75},
        )


@pytest.fixture
def rigs(tmp_path: Path, feedback: FeedbackServer) -> Iterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def make(**options: int) -> Rig:
        made.append(Rig(tmp_path, feedback, **options))
        return made[-1]

    yield make
    for rig in made:
        rig.recorder._stopping = True


@pytest.fixture
def log() -> Iterator[list[str]]:
    texts: list[str] = []
    sink = logger.add(lambda message: texts.append(str(message)), format="{level} {message}")
    yield texts
    logger.remove(sink)


def seqs(feedback: FeedbackServer) -> list[int]:
    return [row["seq"] for row in feedback.rows]


def test_a_line_holds_every_field_of_a_prediction(rigs: Callable[..., Rig], tmp_path: Path) -> None:
    rig = rigs()
    [prediction] = rig.record()
    [line] = segment(tmp_path, rig.recorder.id, 0).read_bytes().splitlines()
    row = json.loads(line)
    assert set(row) == set(Prediction.__dataclass_fields__)
    assert (row["id"], row["recorder"]) == (str(prediction.id), str(rig.recorder.id))
    assert (row["seq"], row["kind"], row["scores"], row["reason"]) == (1, "arm", {"red": 0.75}, None)


def test_rows_arrive_in_one_batch_under_the_bentos_token(rigs: Callable[..., Rig], feedback: FeedbackServer) -> None:
    rig = rigs()
    rig.recorder.start()
    for _ in range(30):
        rig.record()
    assert feedback.wait_for(lambda: len(feedback.rows) == 30)
    assert seqs(feedback) == list(range(1, 31))
    assert feedback.authorizations == {"Bearer bento-token"}
    assert len(feedback.batches) <= 2


def test_a_large_batch_is_packed_and_never_over_500_rows(rigs: Callable[..., Rig], feedback: FeedbackServer) -> None:
    rig = rigs()
    rig.record(1200)
    rig.recorder.start()
    assert rig.recorder.flush(10)
    assert feedback.batches == [500, 500, 200]
    assert set(feedback.encodings) == {"gzip"}


def test_500_rows_do_not_wait_for_the_clock(
    rigs: Callable[..., Rig], feedback: FeedbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GATHER_SECONDS", 60)
    rig = rigs()
    rig.recorder.start()
    rig.record(499)
    assert not feedback.wait_for(lambda: bool(feedback.rows), 0.3)
    rig.record(1)
    assert feedback.wait_for(lambda: len(feedback.rows) == 500)


def test_closing_leaves_nothing_behind(rigs: Callable[..., Rig], feedback: FeedbackServer, tmp_path: Path) -> None:
    rig = rigs()
    rig.recorder.start()
    rig.record(3)
    assert rig.recorder.close(5)
    assert seqs(feedback) == [1, 2, 3]
    assert list(tmp_path.glob("*")) == []
    assert (rig.gauges.spool_bytes, rig.gauges.lost) == (0, 0)


def test_rows_wait_while_the_platform_is_away_and_it_is_said_once(
    rigs: Callable[..., Rig], feedback: FeedbackServer, log: list[str]
) -> None:
    feedback.status = 503
    rig = rigs()
    rig.recorder.start()
    rig.record(2)
    assert not rig.recorder.flush(0.7)
    assert len(feedback.batches) >= 2
    assert rig.gauges.spool_bytes > 0
    feedback.status = 200
    assert rig.recorder.close(5)
    assert seqs(feedback) == [1, 2]
    assert [line.split()[0] for line in log if "predictions" in line] == ["WARNING", "INFO"]


def test_a_platform_that_cannot_be_reached_costs_no_row(tmp_path: Path) -> None:
    server = FeedbackServer(tmp_path / "late.sock")
    server._server.server_close()
    (tmp_path / "late.sock").unlink()
    rig = Rig(tmp_path / "spool", server)
    rig.recorder.start()
    rig.record(5)
    assert not rig.recorder.flush(0.3)
    with FeedbackServer(tmp_path / "late.sock").running() as late:
        assert rig.recorder.close(5)
        assert seqs(late) == [1, 2, 3, 4, 5]


def test_waits_grow_with_each_failure(
    rigs: Callable[..., Rig], feedback: FeedbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GATHER_SECONDS", 0.1)
    feedback.status = 503
    rig = rigs()
    rig.recorder.start()
    rig.record()
    # Waits of at least 0.1, 0.1, 0.2 and 0.4 s: a constant rhythm of at most 0.2 s would try five times or more.
    time.sleep(1.1)
    assert 2 <= len(feedback.batches) <= 4


@pytest.mark.parametrize("answer", [None, [], {"no": 1}])
def test_a_nonsensical_answer_does_not_end_the_shipping(
    rigs: Callable[..., Rig], feedback: FeedbackServer, answer: object
) -> None:
    feedback.refused = answer  # type: ignore[assignment]
    rig = rigs()
    rig.recorder.start()
    rig.record()
    rig.recorder.flush(0.3)
    feedback.refused = []
    rig.record()
    assert rig.recorder.flush(5)


def test_refused_rows_are_counted_as_lost_and_not_sent_again(
    rigs: Callable[..., Rig], feedback: FeedbackServer, log: list[str]
) -> None:
    feedback.refused = [{"line": 2, "why": "score must be finite"}]
    rig = rigs()
    rig.recorder.start()
    rig.record(3)
    assert rig.recorder.flush(5)
    assert rig.gauges.lost == 1
    assert feedback.batches == [3]
    assert any("score must be finite" in line for line in log)


def test_a_full_spool_drops_rows_and_the_count_shows_the_hole(
    rigs: Callable[..., Rig], feedback: FeedbackServer, log: list[str]
) -> None:
    rig = rigs(limit=2000)
    for _ in range(20):
        rig.record()
    kept = 20 - rig.gauges.lost
    assert 0 < kept < 20
    assert rig.gauges.spool_bytes <= 2000
    rig.recorder.start()
    assert rig.recorder.flush(5)
    rig.record()
    assert rig.recorder.flush(5)
    assert seqs(feedback) == [*range(1, kept + 1), 21]
    assert len([line for line in log if "lost until this ends" in line]) == 1


def test_a_disk_that_takes_a_part_of_a_line_loses_that_row_alone(
    rigs: Callable[..., Rig], feedback: FeedbackServer, tmp_path: Path
) -> None:
    rig = rigs()
    rig.record(2)
    size = segment(tmp_path, rig.recorder.id, 0).stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, limits[1]))
    try:
        rig.record()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    rig.record(2)
    assert rig.gauges.lost == 1
    rig.recorder.start()
    assert rig.recorder.close(5)
    assert seqs(feedback) == [1, 2, 4, 5]


def abandon(folder: Path, rows: bytes, owner: str = OWNER) -> None:
    recorder = uuid4()
    Lock.create(folder, recorder, owner).release()
    segment(folder, recorder, 0).write_bytes(rows)


def test_the_spools_of_dead_processes_are_adopted(
    rigs: Callable[..., Rig], feedback: FeedbackServer, tmp_path: Path
) -> None:
    abandon(tmp_path, b'{"seq": 71}\n{"seq": 72}\n{"seq": 7')
    abandon(tmp_path, b"")
    rig = rigs()
    rig.record()
    rig.recorder.start()
    assert rig.recorder.close(5)
    assert seqs(feedback) == [71, 72, 1]
    assert list(tmp_path.glob("*")) == []


def test_the_spools_of_living_processes_and_other_versions_are_not_touched(
    rigs: Callable[..., Rig], feedback: FeedbackServer, tmp_path: Path
) -> None:
    abandon(tmp_path, b'{"seq": 71}\n', owner="colours/2")
    alive = rigs()
    alive.record()
    rig = rigs()
    rig.recorder.start()
    rig.record(2)
    assert rig.recorder.close(5)
    assert [row["recorder"] for row in feedback.rows] == [str(rig.recorder.id)] * 2
    alive.recorder.start()
    assert alive.recorder.close(5)
    assert len(list(tmp_path.glob("*.lock"))) == 1


def test_what_could_not_be_shipped_is_left_for_the_next_process(
    rigs: Callable[..., Rig], feedback: FeedbackServer, tmp_path: Path
) -> None:
    feedback.status = 503
    abandon(tmp_path, b'{"seq": 71}\n')
    first = rigs()
    first.recorder.start()
    first.record(2)
    assert not first.recorder.close(0.3)
    feedback.status = 200
    second = rigs()
    second.recorder.start()
    assert second.recorder.close(5)
    assert sorted(seqs(feedback)) == [1, 2, 71]
    assert list(tmp_path.glob("*")) == []


def test_recording_costs_microseconds(rigs: Callable[..., Rig], tmp_path: Path) -> None:
    rig = rigs()
    predictions = [rig._prediction("red") for _ in range(2000)]
    started = time.perf_counter()
    for prediction in predictions:
        rig.recorder.append([prediction])
    microseconds = (time.perf_counter() - started) / 2000 * 1e6
    print(f"{microseconds:.1f} us per recorded prediction")
    assert segment(tmp_path, rig.recorder.id, 0).stat().st_size > 2000 * 200
    assert microseconds < 250


def test_rows_that_waited_for_a_day_are_lost_and_counted_also_of_a_dead_process(
    tmp_path: Path, feedback: FeedbackServer
) -> None:
    dead = new_id()
    old = [str(first_id(datetime.now(UTC) - timedelta(hours=hours))) for hours in (48, 25)]
    lines = [f'{{"id":"{one}","subject":"person"}}\n' for one in (*old, new_id())]
    segment(tmp_path, dead, 0).write_text("".join(lines))
    Lock.create(tmp_path, dead, OWNER).release()
    rig = Rig(tmp_path, feedback)
    rig.recorder.start()
    assert rig.recorder.flush(5)
    assert [row["id"] for row in feedback.rows] == [json.loads(lines[2])["id"]]
    assert rig.gauges.lost == 2
    rig.recorder.close(1)
    assert list(tmp_path.iterdir()) == []


def test_rows_that_were_shipped_leave_the_disk_though_nothing_follows_them(
    tmp_path: Path, feedback: FeedbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TURN_SECONDS", 0.2)
    rig = Rig(tmp_path, feedback)
    rig.recorder.start()
    rig.record(3)
    deadline = time.monotonic() + 10
    while segment(tmp_path, rig.recorder.id, 0).exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert len(feedback.rows) == 3
    rig.record(2)
    assert rig.recorder.flush(5)
    assert len(feedback.rows) == 5
    rig.recorder.close(1)
