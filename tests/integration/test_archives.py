"""Archives in a folder, and in a real S3 server's bucket."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import boto3
import pytest
from moto.server import ThreadedMotoServer

from canari.archives import Archives, ArchivesAwayError, FolderArchives, Incoming, S3Archives, archives, sweep
from canari.errors import CanariError

CONTENT = b"an archive of some size" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass(frozen=True)
class Bucket:
    """A bucket of the test's own: the server forgets none while this process lives."""

    name: str
    staging: Path

    @property
    def archives(self) -> Archives:
        return archives(f"s3://{self.name}/canari/bentos", self.staging)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Bucket]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_REGION": "eu-west-3",
    }.items():
        monkeypatch.setenv(name, value)
    made = Bucket(f"models-{uuid4().hex}", tmp_path / "staging")
    boto3.client("s3").create_bucket(Bucket=made.name, CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})
    yield made
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Archives:
    if request.param == "folder":
        return archives(None, tmp_path / "staging")
    made: Bucket = request.getfixturevalue("bucket")
    return made.archives


def receive(kept: Archives, content: bytes = CONTENT) -> str:
    with Incoming(kept) as incoming:
        for start in range(0, len(content), 1000):
            incoming.write(content[start : start + 1000])
        incoming.flush()
        incoming.keep()
        return incoming.sha256


def test_an_archive_is_kept_under_its_digest_and_read_again(kept: Archives) -> None:
    assert not kept.has(SHA256)
    with pytest.raises(KeyError):
        kept.open(SHA256)
    assert [receive(kept), receive(kept)] == [SHA256, SHA256]
    assert kept.has(SHA256)
    stored = kept.open(SHA256)
    assert (stored.size, b"".join(stored.blocks())) == (len(CONTENT), CONTENT)


def test_an_archive_that_is_not_kept_leaves_nothing(kept: Archives) -> None:
    with Incoming(kept) as incoming:
        incoming.write(CONTENT)
    assert list(kept.staging.iterdir()) == []
    assert not kept.has(SHA256)


def test_a_file_that_training_wrote_is_taken_over(kept: Archives) -> None:
    kept.staging.mkdir()
    file = kept.staging / f"{SHA256}.tar.gz"
    file.write_bytes(CONTENT)
    kept.keep(SHA256, file)
    assert b"".join(kept.open(SHA256).blocks()) == CONTENT
    assert file.exists() == isinstance(kept, FolderArchives)


def test_an_object_lies_under_its_prefix(bucket: Bucket) -> None:
    receive(bucket.archives)
    [held] = boto3.client("s3").list_objects_v2(Bucket=bucket.name)["Contents"]
    assert held["Key"] == f"canari/bentos/{SHA256}.tar.gz"


@pytest.mark.usefixtures("bucket")
def test_a_bucket_that_is_not_there_is_told(tmp_path: Path) -> None:
    absent = S3Archives("nowhere", "", tmp_path)
    with pytest.raises(ArchivesAwayError, match="s3://nowhere/ cannot be reached"):
        receive(absent)
    with pytest.raises(CanariError, match="NoSuchBucket"):
        absent.open(SHA256)


def test_a_server_that_is_away_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free.getsockname()[1]}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.setenv(name, "x")
    with pytest.raises(ArchivesAwayError, match="cannot be reached"):
        S3Archives("models", "", tmp_path).has(SHA256)


def test_what_a_killed_process_left_is_swept_after_a_day(tmp_path: Path) -> None:
    old, young, kept = (tmp_path / name for name in ("a.new", "b.new", f"{SHA256}.tar.gz"))
    for file in (old, young, kept):
        file.touch()
    for file in (old, kept):
        os.utime(file, (0, 0))
    sweep(tmp_path)
    assert set(tmp_path.iterdir()) == {young, kept}


@pytest.mark.parametrize("url", ["s3:", "s3:///prefix", "gs://bucket", "/a/folder"])
def test_a_place_that_is_none_is_refused_with_what_one_looks_like(url: str, tmp_path: Path) -> None:
    with pytest.raises(CanariError, match="s3://BUCKET/PREFIX"):
        archives(url, tmp_path)
