"""What the reconcile loop asks of whatever runs versions: processes of this machine, or Deployments."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from canari.spec import ModelSpec


class State(StrEnum):
    """Where a version, or another process, stands."""

    ABSENT = "absent"
    STARTING = "starting"
    READY = "ready"
    BACKOFF = "waiting to restart"


@dataclass(frozen=True, slots=True)
class VersionRun:
    """A version that is to run: the live specification goes with it, its archive is named by digest."""

    spec: ModelSpec
    number: int
    archive: str


class Launcher(Protocol):
    """Something that runs versions: processes here, Deployments on Kubernetes."""

    def ensure(self, run: VersionRun) -> State:
        """Have a version running; never waits. Returns where it stands."""

    def running(self) -> set[tuple[str, int]]:
        """The versions that run, or are being started, wanted or not."""

    def stop(self, versions: Collection[tuple[str, int]]) -> None:
        """End versions; each finishes what it is answering."""
