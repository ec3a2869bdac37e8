"""First versions from drawn or generated samples, so that a new platform has something to show."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from pathlib import Path

from sqlalchemy import Engine

from canari.family import Family
from canari.launch.launcher import State
from canari.launch.processes import Program, Supervisor
from canari.settings import Layout
from canari.store import versions
from canari.types import VersionState

_TRIES = 3


class Demo:
    """Trains one first version per family that has none, one after the other; `busy` until their processes ended."""

    def __init__(self, layout: Layout, supervisor: Supervisor) -> None:
        self._logs = layout.logs
        self._supervisor = supervisor
        self.busy = True

    def step(self, engine: Engine, families: Collection[Family], environment: Mapping[str, str]) -> list[str]:
        """Start, watch or end the training that is due; returns what is being waited for."""
        self.busy = False
        for family in sorted(families, key=lambda f: f.spec.input.kind.value != "tabular"):
            known = versions.versions(engine, family.name)
            name = f"train-{family.name}"
            ready = any(v.state is VersionState.READY for v in known)
            failed = sum(v.state is VersionState.FAILED for v in known)
            if ready or failed >= _TRIES:
                # It may still be writing down where the version came from.
                self.busy |= not self._supervisor.forget_ended(name)
                continue
            self.busy = True
            state = self._supervisor.ensure(self._program(family.name, environment))
            return [self._progress(family.name) if state is not State.BACKOFF else f"{family.name} to be trained again"]
        return []

    @staticmethod
    def _program(model: str, environment: Mapping[str, str]) -> Program:
        return Program(
            name=f"train-{model}",
            argv=(sys.executable, "-m", "services.jobs", "train", model, "--demo"),
            ready=lambda: True,
            environment=environment,
            folder=Path(__file__).resolve().parents[2],
        )

    def _progress(self, model: str) -> str:
        try:
            lines = (self._logs / f"train-{model}.log").read_text(errors="replace").strip().splitlines()
        except FileNotFoundError:
            lines = []
        last = lines[-1].strip()[:100] if lines else "starting"
        return f"{model}'s demonstration version ({last})"
