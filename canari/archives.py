"""Where the versions' bentos are kept, each as one archive under the SHA-256 of its bytes: a folder, or S3."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self
from urllib.parse import urlsplit

from canari.errors import CanariError

_BLOCK = 2**20
_TYPE = "application/gzip"
_UNFINISHED = ".new"
_UNFINISHED_SECONDS = 24 * 3600


class ArchivesAwayError(CanariError):
    """The bucket does not answer, or refuses."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An archive that is kept: its size in bytes, and a file to read them from once."""

    size: int
    file: IO[bytes]

    def blocks(self) -> Iterator[bytes]:
        """The content, a mebibyte at a time; the file is closed after the last."""
        with self.file as file:
            while block := file.read(_BLOCK):
                yield block


class Archives(Protocol):
    """A store of archives."""

    @property
    def staging(self) -> Path:
        """A folder of this machine for archives on their way in; `keep` takes them from there at the least cost."""

    def has(self, sha256: str) -> bool:
        """Whether the archive is kept."""

    def keep(self, sha256: str, file: Path) -> None:
        """Take over `file`, whose digest is `sha256`; it is gone afterwards. Keeping the same again changes nothing."""

    def open(self, sha256: str) -> Stored:
        """The archive; raises KeyError where there is none."""


class FolderArchives:
    """Archives as files ``SHA256.tar.gz`` in a folder: on one machine, or on a volume."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def staging(self) -> Path:
        """The folder itself, so that keeping is a rename."""
        return self._root

    def has(self, sha256: str) -> bool:
        """Whether the archive is kept."""
        return self._path(sha256).is_file()

    def keep(self, sha256: str, file: Path) -> None:
        """Take over `file`; a reader sees all of it or nothing."""
        if file != self._path(sha256):
            file.chmod(0o644)
            file.replace(self._path(sha256))

    def open(self, sha256: str) -> Stored:
        """The archive; raises KeyError where there is none."""
        try:
            file = self._path(sha256).open("rb")
        except FileNotFoundError:
            raise KeyError(sha256) from None
        return Stored(os.fstat(file.fileno()).st_size, file)

    def _path(self, sha256: str) -> Path:
        return self._root / f"{sha256}.tar.gz"


class S3Archives:
    """Archives as objects ``PREFIX/SHA256.tar.gz`` of a bucket.

    Credentials, region and endpoint are found as boto3 finds them: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
    `AWS_REGION`, `AWS_ENDPOINT_URL_S3`, a role bound to the pod's service account. Its faults are ArchivesAwayError.
    """

    def __init__(self, bucket: str, prefix: str, staging: Path) -> None:
        try:
            import boto3
        except ImportError:
            raise CanariError("keeping archives in S3 needs boto3: install Canari with its extra `s3`") from None
        self._client = boto3.client("s3")
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._staging = staging

    @property
    def staging(self) -> Path:
        """A folder whose files are uploaded."""
        return self._staging

    def has(self, sha256: str) -> bool:
        """Whether the archive is kept."""
        return self._ask("head_object", sha256) is not None

    def keep(self, sha256: str, file: Path) -> None:
        """Upload `file`, in parts where it is large, and delete it here."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        if not self.has(sha256):
            try:
                self._client.upload_file(str(file), self._bucket, self._key(sha256), ExtraArgs={"ContentType": _TYPE})
            except (Boto3Error, BotoCoreError, ClientError) as error:
                raise self._fault(error) from error
        file.unlink()

    def open(self, sha256: str) -> Stored:
        """The archive; raises KeyError where there is none."""
        found = self._ask("get_object", sha256)
        if found is None:
            raise KeyError(sha256)
        return Stored(int(found["ContentLength"]), found["Body"])

    def _ask(self, operation: str, sha256: str) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return getattr(self._client, operation)(Bucket=self._bucket, Key=self._key(sha256))
        except ClientError as error:
            if error.response["Error"]["Code"] in {"404", "NoSuchKey"}:
                return None
            raise self._fault(error) from error
        except BotoCoreError as error:
            raise self._fault(error) from error

    def _key(self, sha256: str) -> str:
        return f"{self._prefix}{sha256}.tar.gz"

    def _fault(self, error: Exception) -> ArchivesAwayError:
        return ArchivesAwayError(f"the archives in s3://{self._bucket}/{self._prefix} cannot be reached: {error}")


class Incoming:
    """An archive that is being received, written to the staging folder block by block; gone where it is not kept."""

    def __init__(self, archives: Archives) -> None:
        self._archives = archives
        archives.staging.mkdir(parents=True, exist_ok=True)
        self._digest = hashlib.sha256()
        with tempfile.NamedTemporaryFile(dir=archives.staging, suffix=_UNFINISHED, delete=False) as made:
            self.path = Path(made.name)
        self._file = self.path.open("wb")
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)

    @property
    def sha256(self) -> str:
        """The digest of what has been written so far."""
        return self._digest.hexdigest()

    def write(self, block: bytes) -> None:
        """Append a block."""
        self._file.write(block)
        self._digest.update(block)
        self.size += len(block)

    def flush(self) -> None:
        """Have everything written on the disk, so that it can be read and kept."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def keep(self) -> None:
        """Keep it under its digest."""
        self._archives.keep(self.sha256, self.path)


def sweep(staging: Path) -> None:
    """Delete what killed processes left half received; what is younger than a day may still be on its way."""
    for file in staging.glob(f"*{_UNFINISHED}"):
        with suppress(FileNotFoundError):
            if file.stat().st_mtime < time.time() - _UNFINISHED_SECONDS:
                file.unlink()


def archives(url: str | None, folder: Path) -> Archives:
    """The store that `url` names: ``s3://BUCKET/PREFIX``, or `folder` where it is None. Raises CanariError."""
    if url is None:
        return FolderArchives(folder)
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.netloc:
        raise CanariError(
            f"{url!r} is no place for archives: give s3://BUCKET/PREFIX, or leave CANARI_ARCHIVES_URL out"
        )
    return S3Archives(parts.netloc, parts.path.strip("/"), folder)
