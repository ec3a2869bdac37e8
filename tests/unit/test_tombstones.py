"""Tombstones: a file that outlives the database, and names nobody."""

from __future__ import annotations

import hashlib
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from canari.errors import CanariError
from canari.ids import new_id
from canari.tombstones import Tombstone, Tombstones, is_pseudonym, pseudonym, tombstone

NOW = datetime(2026, 11, 21, 10, 0, 0, 1000, tzinfo=UTC)
ADA = "account:ada@example.org"


def one_of(tombstones: Tombstones, subject: str = ADA) -> Tombstone:
    return tombstone(tombstones.hash(subject), NOW, "an administrator", access=True)


def test_what_is_added_is_read_back_in_order_and_once(tmp_path: Path) -> None:
    tombstones = Tombstones(tmp_path / "data")
    first, second = one_of(tombstones), one_of(tombstones, "visitor:1")
    assert tombstones.read() == []
    tombstones.add([first])
    tombstones.add([first, second])
    assert Tombstones(tmp_path / "data").read() == [first, second]
    assert tombstones.file.stat().st_mode & 0o777 == 0o600


def test_no_file_names_a_subject_nor_lets_one_be_guessed_without_the_salt(tmp_path: Path) -> None:
    tombstones = Tombstones(tmp_path)
    tombstones.add([one_of(tombstones)])
    held = tombstones.file.read_text()
    assert "ada" not in held
    assert hashlib.sha256(ADA.encode()).hexdigest() not in held
    assert Tombstones(tmp_path).hash(ADA) == tombstones.hash(ADA) != Tombstones(tmp_path / "other").hash(ADA)


def test_processes_that_draw_a_salt_at_the_same_moment_agree(tmp_path: Path) -> None:
    hashes: list[str] = []
    start = threading.Barrier(8)

    def draw() -> None:
        start.wait()
        hashes.append(Tombstones(tmp_path).hash(ADA))

    threads = [threading.Thread(target=draw) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(hashes)) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["erasures.salt"]


@pytest.mark.parametrize("text", ["", "abcd", "not hexadecimal", "00" * 31])
def test_a_damaged_salt_is_not_drawn_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "erasures.salt").write_text(text)
    with pytest.raises(CanariError, match="put it back from a backup"):
        Tombstones(tmp_path).hash(ADA)


@pytest.mark.parametrize("line", ["{}", "torn {", '{"id": "1", "subject_hash": "x"}', "[]"])
def test_a_damaged_line_is_told_with_its_number(tmp_path: Path, line: str) -> None:
    tombstones = Tombstones(tmp_path)
    tombstones.add([one_of(tombstones)])
    with tombstones.file.open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(CanariError, match="line 2: this is no tombstone"):
        tombstones.read()


def test_a_pseudonym_is_of_the_same_kind_and_is_known_as_one() -> None:
    erasure = new_id()
    assert pseudonym(erasure, "visitor:1") == f"visitor:erased:{erasure}"
    assert pseudonym(erasure, "anonymous:1") == f"anonymous:erased:{erasure}"
    assert pseudonym(erasure, ADA) == f"erased:{erasure}"
    assert all(is_pseudonym(pseudonym(erasure, subject)) for subject in ("visitor:1", "anonymous:1", ADA))
    assert is_pseudonym("erased")
    assert not any(map(is_pseudonym, ("visitor:1", ADA, "erasedly", "account:erased")))
