"""Packages: a trained version with everything a platform needs to take it in, and how one is pushed.

A package is a folder that holds `package.json` and the version's archive, as ``SHA256.tar.gz``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pydantic import ValidationError

from canari.errors import CanariError
from canari.remote import checked
from canari.spec import ModelSpec

_BLOCK = 2**18
# To connect and for each block; the answer waits until the archive was looked into.
_TIMEOUT = httpx.Timeout(60, connect=10, read=300)

Progress = Callable[[int, int], object]


@dataclass(frozen=True, slots=True)
class Package:
    """A version to push: what it was built with, its archive's SHA-256 and file, and how it came to be."""

    spec: ModelSpec
    archive: str
    file: Path
    metrics: dict[str, Any]
    synthetic: bool
    manifest: dict[str, Any] | None

    @property
    def model(self) -> str:
        """The model's name."""
        return self.spec.name


def load_package(folder: Path) -> Package:
    """Read a package; raises CanariError that says what is missing or wrong."""
    file = folder / "package.json"
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
        package = Package(
            spec=ModelSpec.model_validate(held["spec"]),
            archive=held["archive"],
            file=folder / f"{held['archive']}.tar.gz",
            metrics=held["metrics"],
            synthetic=held["synthetic"],
            manifest=held["manifest"],
        )
    except FileNotFoundError:
        raise CanariError(f"{folder} is not a package: it holds no package.json") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = f"{error.errors()[0]['msg']}" if isinstance(error, ValidationError) else repr(error)
        raise CanariError(f"{file} cannot be read as a package's: {why}") from error
    if not package.file.is_file():
        raise CanariError(f"{folder} is not whole: it lacks {package.file.name}")
    return package


def find_packages(folder: Path) -> list[Package]:
    """Every package right under `folder`, by name."""
    return [load_package(file.parent) for file in sorted(folder.glob("*/package.json"))]


def push(client: httpx.Client, package: Package, progress: Progress = lambda _done, _total: None) -> tuple[int, bool]:
    """Send a package to the platform of `client`; returns the number it has there, and whether that is new.

    `progress` is told bytes sent and bytes in all. Raises RefusedError in the platform's words, httpx.TransportError.
    """
    total = package.file.stat().st_size
    sent = client.put(
        f"/api/{package.model}/archives/{package.archive}",
        content=_blocks(package.file, total, progress),
        headers={"content-type": "application/gzip", "content-length": str(total)},
        timeout=_TIMEOUT,
    )
    checked(sent)
    version = {
        "archive": package.archive,
        "metrics": package.metrics,
        "synthetic": package.synthetic,
        "manifest": package.manifest,
        "spec_hash": package.spec.hash,
    }
    registered = client.post(f"/api/{package.model}/versions", json=version, timeout=_TIMEOUT)
    return int(checked(registered)["number"]), registered.status_code == httpx.codes.CREATED


def _blocks(file: Path, total: int, progress: Progress) -> Iterator[bytes]:
    done = 0
    with file.open("rb") as content:
        while block := content.read(_BLOCK):
            yield block
            done += len(block)
            progress(done, total)
