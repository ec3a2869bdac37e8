"""A bento as one file, named by the SHA-256 of its bytes: the same bento always makes the same archive."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from canari.errors import CanariError
from canari.measures import Reference, read_reference
from canari.spec import ModelSpec

_BLOCK = 2**20
_SPEC = "src/artifact/spec.json"
_REFERENCE = "src/artifact/reference.json"
_MODEL = "src/artifact/model.onnx"
_MOST_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Built:
    """What an archived bento was built with; older ones have no reference of inputs."""

    spec: ModelSpec
    reference: Reference | None


def pack(folder: Path, archives: Path) -> str:
    """Pack `folder` into ``archives/SHA256.tar.gz``; returns the digest.

    Names are sorted, times and owners are zero, so the digest depends on names, contents and modes alone.
    """
    archives.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=archives, suffix=".new", delete=False) as output:
        fresh = Path(output.name)
        try:
            with (
                gzip.GzipFile(filename="", mode="wb", fileobj=output, mtime=0, compresslevel=6) as packed,
                tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
            ):
                for path in sorted(folder.rglob("*")):
                    archive.add(path, path.relative_to(folder).as_posix(), recursive=False, filter=_plain)
        except BaseException:
            fresh.unlink()
            raise
    digest = _digest(fresh)
    fresh.chmod(0o644)
    fresh.replace(archives / f"{digest}.tar.gz")
    return digest


def unpack(sha256: str, archive: Path, destination: Path) -> None:
    """Have `archive`'s content in `destination`; done at once where it is there already.

    Raises CanariError where the archive is missing, is not the one that `sha256` names, or holds unsafe members.
    """
    if destination.exists():
        return
    try:
        found = _digest(archive)
    except FileNotFoundError:
        raise CanariError(f"the archive {archive} is missing: put it back, or train the version again") from None
    if found != sha256:
        raise CanariError(f"the archive {archive} is damaged: its SHA-256 is {found}, not {sha256}")
    destination.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=destination.parent, prefix=".unpacking-"))
    try:
        with tarfile.open(archive, mode="r:gz") as content:
            content.extractall(fresh, filter="data")
        fresh.chmod(0o755)
        fresh.rename(destination)
    except (tarfile.TarError, OSError) as error:
        shutil.rmtree(fresh, ignore_errors=True)
        if not destination.exists():  # else another process unpacked it meanwhile
            raise CanariError(f"the archive {archive} cannot be unpacked: {error}") from error


def built(archive: IO[bytes]) -> Built:
    """What an archived bento was built with; every member is looked at, and none unpacked.

    Raises CanariError where it is no archive of a bento, or holds unsafe members.
    """
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=archive, mode="r|gz") as content:
            for member in content:
                tarfile.data_filter(member, "/bento")
                if member.name in {_SPEC, _REFERENCE} and member.isfile() and member.size <= _MOST_BYTES:
                    file = content.extractfile(member)
                    found[member.name] = file.read() if file else b""
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise CanariError(f"this is not an archive of a bento (.tar.gz): {error}") from error
    if _SPEC not in found:
        raise CanariError(f"this is not an archive of a bento that Canari built: it holds no {_SPEC}")
    return Built(_spec(found[_SPEC]), read_reference(found[_REFERENCE]) if _REFERENCE in found else None)


def extract_model(sha256: str, archive: IO[bytes], target: Path) -> None:
    """Write the exported model of an archive to `target`, once the whole archive is known to be what `sha256` names.

    Raises CanariError where it is not, or holds no model.
    """
    with tempfile.TemporaryFile() as copy:
        digest = hashlib.sha256()
        while block := archive.read(_BLOCK):
            digest.update(block)
            copy.write(block)
        if digest.hexdigest() != sha256:
            raise CanariError(f"the archive is damaged: its SHA-256 is {digest.hexdigest()}, not {sha256}")
        copy.seek(0)
        try:
            with tarfile.open(fileobj=copy, mode="r:gz") as content:
                file = content.extractfile(_MODEL)
                assert file is not None
                with file, target.open("wb") as output:
                    shutil.copyfileobj(file, output)
        except (tarfile.TarError, EOFError, zlib.error, OSError, KeyError) as error:
            raise CanariError(f"there is no model in the archive {sha256}: {error}") from error


def _spec(content: bytes) -> ModelSpec:
    try:
        return ModelSpec.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the specification"
        raise CanariError(f"{_SPEC} in the archive does not hold: {where}: {first['msg']}") from None


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 0
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return member


def _digest(file: Path) -> str:
    found = hashlib.sha256()
    with file.open("rb") as content:
        while block := content.read(_BLOCK):
            found.update(block)
    return found.hexdigest()
