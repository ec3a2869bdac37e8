import tarfile
from pathlib import Path

import pytest

from canari.archive import extract_model, pack, unpack
from canari.errors import CanariError


def bento(folder: Path) -> Path:
    (folder / "src" / "deep").mkdir(parents=True)
    (folder / "bento.yaml").write_text("name: drift")
    (folder / "src" / "deep" / "model.onnx").write_bytes(b"\x00" * 5000)
    (folder / "src" / "run.sh").write_text("#!/bin/sh")
    (folder / "src" / "run.sh").chmod(0o700)
    return folder


def test_the_same_content_is_the_same_archive_whatever_its_age(tmp_path: Path) -> None:
    one, two = bento(tmp_path / "one"), bento(tmp_path / "two")
    (one / "bento.yaml").touch()
    digest = pack(one, tmp_path / "archives")
    assert pack(two, tmp_path / "archives") == digest
    assert [f.name for f in (tmp_path / "archives").iterdir()] == [f"{digest}.tar.gz"]
    (two / "bento.yaml").write_text("name: other")
    assert pack(two, tmp_path / "archives") != digest


def test_an_archive_is_unpacked_whole_and_once(tmp_path: Path) -> None:
    digest = pack(bento(tmp_path / "bento"), tmp_path)
    destination = tmp_path / "out" / "here"
    unpack(digest, tmp_path / f"{digest}.tar.gz", destination)
    assert (destination / "src" / "deep" / "model.onnx").stat().st_size == 5000
    assert (destination / "src" / "run.sh").stat().st_mode & 0o111
    (tmp_path / f"{digest}.tar.gz").unlink()
    unpack(digest, tmp_path / f"{digest}.tar.gz", destination)
    assert [f.name for f in destination.parent.iterdir()] == ["here"]


def test_a_damaged_or_missing_archive_is_refused(tmp_path: Path) -> None:
    digest = pack(bento(tmp_path / "bento"), tmp_path)
    archive = tmp_path / f"{digest}.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-1] + b"x")
    with pytest.raises(CanariError, match="is damaged"):
        unpack(digest, archive, tmp_path / "out")
    with pytest.raises(CanariError, match="is missing"):
        unpack(digest, tmp_path / "none", tmp_path / "out")


def test_an_archive_that_would_write_elsewhere_is_refused(tmp_path: Path) -> None:
    import hashlib

    archive = tmp_path / "evil.tar.gz"
    with tarfile.open(archive, "w:gz") as content:
        content.add(bento(tmp_path / "bento") / "bento.yaml", "../escaped.yaml")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    with pytest.raises(CanariError, match="cannot be unpacked"):
        unpack(digest, archive, tmp_path / "out" / "bento")
    assert list((tmp_path / "out").iterdir()) == []
    assert not (tmp_path / "out" / "escaped.yaml").exists()


def test_the_model_alone_is_taken_out_of_an_archive_that_is_what_it_is_called(tmp_path: Path) -> None:
    folder = bento(tmp_path / "bento")
    (folder / "src" / "artifact").mkdir(parents=True, exist_ok=True)
    (folder / "src" / "artifact" / "model.onnx").write_bytes(b"a model")
    sha256 = pack(folder, tmp_path / "archives")
    archive = tmp_path / "archives" / f"{sha256}.tar.gz"
    with archive.open("rb") as file:
        extract_model(sha256, file, tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_bytes() == b"a model"
    with archive.open("rb") as file, pytest.raises(CanariError, match="is damaged"):
        extract_model("0" * 64, file, tmp_path / "other.onnx")
    (folder / "src" / "artifact" / "model.onnx").unlink()
    without = pack(folder, tmp_path / "archives")
    archive = tmp_path / "archives" / f"{without}.tar.gz"
    with archive.open("rb") as file, pytest.raises(CanariError, match="there is no model in the archive"):
        extract_model(without, file, tmp_path / "other.onnx")
    assert not (tmp_path / "other.onnx").exists()
