from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

import pytest

from canari.runtime.spool import Lock, Reader, Writer, abandoned, expire, segment

A = uuid4()


def lines(count: int, first: int = 0) -> bytes:
    return b"".join(b'{"n": %d}\n' % number for number in range(first, first + count))


def drain(reader: Reader, max_lines: int = 100, max_bytes: int = 10_000) -> bytes:
    everything = b""
    while batch := reader.batch(max_lines, max_bytes):
        assert batch.count(b"\n") <= max_lines
        everything += batch
        reader.advance(len(batch))
    return everything


def test_what_was_written_is_read_in_order_over_segments(tmp_path: Path) -> None:
    writer, reader = Writer(tmp_path, A, segment_bytes=30), Reader(tmp_path, A)
    for number in range(20):
        writer.append(lines(1, number))
    assert len(list(tmp_path.glob("*.ndjson"))) > 3
    assert reader.pending() == len(lines(20))
    assert drain(reader, max_lines=2) == lines(20)
    assert reader.pending() == 0
    assert len(list(tmp_path.glob("*.ndjson"))) == 1


def test_reading_goes_on_where_it_stopped_in_another_process(tmp_path: Path) -> None:
    writer, reader = Writer(tmp_path, A, segment_bytes=30), Reader(tmp_path, A)
    for number in range(20):
        writer.append(lines(1, number))
    for _ in range(7):
        reader.advance(len(reader.batch(1, 1000)))
    again = Reader(tmp_path, A)
    assert again.pending() == reader.pending()
    assert drain(again) == lines(13, 7)


@pytest.mark.parametrize("text", ["", "x y", "99 4"])
def test_a_torn_offset_means_reading_again_from_the_beginning(tmp_path: Path, text: str) -> None:
    Writer(tmp_path, A).append(lines(3))
    (tmp_path / f"{A}.offset").write_text(text)
    assert drain(Reader(tmp_path, A)) == lines(3)


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    segment(tmp_path, A, 0).write_bytes(lines(3) + b'{"n": 3')
    assert drain(Reader(tmp_path, A)) == lines(3)


def test_a_torn_line_inside_does_not_join_the_next_segment(tmp_path: Path) -> None:
    segment(tmp_path, A, 0).write_bytes(lines(3) + b'{"n": ')
    segment(tmp_path, A, 1).write_bytes(lines(2, 10))
    assert drain(Reader(tmp_path, A)) == lines(3) + lines(2, 10)


def test_a_line_longer_than_a_batch_is_read_whole(tmp_path: Path) -> None:
    long = b'"' + b"x" * 500 + b'"\n'
    Writer(tmp_path, A).append(long + lines(1))
    assert drain(Reader(tmp_path, A), max_bytes=64) == long + lines(1)


def test_nothing_to_read_is_no_fault(tmp_path: Path) -> None:
    assert Reader(tmp_path, A).batch(10, 100) == b""


def test_a_lock_is_taken_only_from_the_dead_of_the_same_version(tmp_path: Path) -> None:
    held = Lock.create(tmp_path, A, "cats_dogs/3")
    assert list(abandoned(tmp_path, "cats_dogs/3")) == []
    held.release()
    assert list(abandoned(tmp_path, "cats_dogs/4")) == []
    taken = list(abandoned(tmp_path, "cats_dogs/3"))
    assert [recorder for recorder, _ in taken] == [A]
    assert list(abandoned(tmp_path, "cats_dogs/3")) == []


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.lock").write_text("cats_dogs/3")
    assert list(abandoned(tmp_path, "cats_dogs/3")) == []
    assert Lock.take(tmp_path / "absent.lock", "cats_dogs/3") is None


def test_what_a_dead_process_left_a_day_ago_is_deleted_and_the_living_are_left_alone(tmp_path: Path) -> None:
    locks = {}
    for name in ("dead", "fresh", "alive"):
        recorder = uuid4()
        locks[name] = Lock.create(tmp_path, recorder, "colours/3")
        segment(tmp_path, recorder, 0).write_bytes(lines(3))
        if name != "fresh":
            for path in (locks[name].path, segment(tmp_path, recorder, 0)):
                os.utime(path, (0, 0))
        if name != "alive":
            locks[name].release()
    assert expire(tmp_path, 3600) == 1
    left = {path.name.partition(".")[0] for path in tmp_path.iterdir()}
    assert left == {locks[name].path.stem for name in ("fresh", "alive")}
