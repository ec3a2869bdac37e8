"""A version that was just made beside the stable one, asked the same held-out samples."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine

from canari.archive import extract_model
from canari.archives import Archives
from canari.errors import CanariError
from canari.export import onnx_scores
from canari.policy.accept import Acceptance, accept, bar_of
from canari.spec import ModelSpec
from canari.stats import Pairs
from canari.store import rollouts, versions
from services.jobs.making import Made


@dataclass(frozen=True, slots=True)
class Comparison:
    """Where stable versions and their archives are found."""

    engine: Engine
    archives: Archives

    def judge(self, spec: ModelSpec, made: Made, *, self_labelled: bool) -> Acceptance:
        """Whether what was made may go on trial; `self_labelled`: it learned from answers of the version before."""
        stable = rollouts.desired(self.engine)[spec.name].stable
        bar = bar_of(spec, may_fall=not self_labelled)
        right, count = int(made.right.sum()), len(made.right)
        if stable is None:
            return accept(bar, count, right, None)
        unlike = _unlike(versions.built_spec(self.engine, spec.name, stable), spec)
        if unlike is not None:
            return accept(bar, count, right, None, unpaired=f"stable version {stable} {unlike}")
        before = self._right(spec, stable, made)
        gained, lost = int((made.right & ~before).sum()), int((~made.right & before).sum())
        return accept(bar, count, right, Pairs(count, gained, lost))

    def _right(self, spec: ModelSpec, stable: int, made: Made) -> NDArray[np.bool_]:
        """Which of the held-out samples the stable version has right, by its own exported model."""
        found = versions.version(self.engine, spec.name, stable)
        built = versions.built_spec(self.engine, spec.name, stable)
        if found.archive is None:
            raise CanariError(f"stable version {stable} of {spec.name} has no archive to compare with")
        try:
            stored = self.archives.open(found.archive)
        except KeyError:
            raise CanariError(
                f"the archive {found.archive} of stable version {stable} of {spec.name} is gone: put it back, or push "
                f"the version again"
            ) from None
        with tempfile.TemporaryDirectory(prefix="canari-stable-") as folder, stored.file:
            model = Path(folder) / "model.onnx"
            extract_model(found.archive, stored.file, model)
            answers = onnx_scores(model, made.held_out.inputs).argmax(axis=1)
        # Both have the same labels, perhaps in another order.
        ours = np.array([spec.labels.index(label) for label in built.labels])
        return np.asarray(ours[answers] == made.held_out.labels)


def _unlike(built: ModelSpec, spec: ModelSpec) -> str | None:
    """Why a version cannot be asked the same samples; None where it can."""
    if set(built.labels) != set(spec.labels):
        return "has other labels"
    shape = ("kind", "size", "features")
    if any(getattr(built.input, name) != getattr(spec.input, name) for name in shape):
        return "takes other inputs"
    return None
