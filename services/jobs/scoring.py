"""How a version does today on its model's evaluation set: its own exported model, asked anew."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine

from canari.archive import extract_model
from canari.archives import Archives
from canari.errors import CanariError, Problem
from canari.evaluation import evaluate
from canari.export import onnx_scores
from canari.family import Array, Family, find_family
from canari.settings import Layout
from canari.store import samples, versions
from canari.types import Sample, Version
from services.jobs.progress import Report

_BATCH = 256

Tell = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """Today's examples that no version learns from: the team's own, or generated ones where there are none."""

    samples: tuple[Sample, ...]
    synthetic: bool

    def key(self, archive: str) -> str:
        """Names one version's answers to this set: while neither changes, they need not be asked for again."""
        identity = [archive, sorted((one.sha256, one.label) for one in self.samples)]
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()


def evaluation_set(engine: Engine, model: str) -> EvaluationSet:
    """A model's evaluation set as it is today, perhaps empty. What was erased is not in it."""
    gone = samples.erased(engine, model)
    for synthetic in (False, True):
        chosen = [one for one in samples.all(engine, model, synthetic=synthetic) if one.evaluation]
        if usable := tuple(one for one in chosen if one.sha256 not in gone):
            return EvaluationSet(usable, synthetic)
    return EvaluationSet((), synthetic=False)


@dataclass(frozen=True, slots=True)
class Scorer:
    """Where archives, samples and families lie."""

    engine: Engine
    archives: Archives
    layout: Layout
    families: Path

    def held_out(
        self, version: Version, chosen: EvaluationSet, before: Mapping[str, Any] | None, report: Report, tell: Tell
    ) -> dict[str, Any]:
        """The version's figures on the evaluation set as JSON values: those of `before` where nothing has changed.

        Evaluation.document(), and `bins` for a reliability diagram, the labels' `names` in the order of `confusion`,
        whether the set is `synthetic`, and `key`. Tells of samples that are left out. Raises CanariError with why there
        are none.
        """
        if not chosen.samples:
            raise CanariError(
                f"{version.model} has no evaluation set: add samples with `canari data add {version.model} DIR`"
            )
        if version.archive is None:
            raise CanariError(f"version {version.number} has no archive")
        key = chosen.key(version.archive)
        if before is not None and before.get("key") == key:
            return dict(before)
        spec = versions.built_spec(self.engine, version.model, version.number)
        family = replace(find_family(self.families, version.model), spec=spec)
        known = [one for one in chosen.samples if one.label in spec.labels]
        if strange := len(chosen.samples) - len(known):
            tell(f"{strange} samples of labels that it was made without are left out")
        with tempfile.TemporaryDirectory(prefix="canari-scoring-") as folder:
            model = Path(folder) / "model.onnx"
            self._fetch(version.archive, model)
            scores, truth = self._ask(model, family, known, report, tell)
        abstain = spec.abstain.below if spec.abstain else 0.0
        measured = evaluate(scores, truth, spec.labels, abstain_below=abstain)
        bins = [asdict(one) for one in measured.bins]
        more = {"names": list(spec.labels), "bins": bins, "synthetic": chosen.synthetic, "key": key}
        return {**measured.document(), **more}

    def _fetch(self, archive: str, target: Path) -> None:
        try:
            stored = self.archives.open(archive)
        except KeyError:
            raise CanariError(f"its archive {archive[:12]} is gone: push or train it again") from None
        with stored.file:
            extract_model(archive, stored.file, target)

    def _ask(
        self, model: Path, family: Family, chosen: Sequence[Sample], report: Report, tell: Tell
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """A batch after the other, so that memory holds one; a photo is 400 kB once it is decoded."""
        found: list[NDArray[np.float32]] = []
        truth: list[int] = []
        for inputs, labels in self._batches(family, chosen, tell):
            found.append(onnx_scores(model, inputs))
            truth += labels
            report("held out", len(truth), len(chosen), {})
        if not found:
            raise CanariError(f"not one of the {len(chosen)} samples of the evaluation set can be read")
        return np.concatenate(found), np.array(truth, np.int64)

    def _batches(self, family: Family, chosen: Sequence[Sample], tell: Tell) -> Iterator[tuple[Array, list[int]]]:
        inputs: list[Array] = []
        labels: list[int] = []
        gone = 0
        for one in chosen:
            try:
                inputs.append(family.decode(self._content(one)))
                labels.append(family.spec.labels.index(one.label))
            except (OSError, Problem):
                gone += 1
            if len(inputs) == _BATCH:
                yield np.stack(inputs), labels
                inputs, labels = [], []
        if inputs:
            yield np.stack(inputs), labels
        if gone:
            tell(f"{gone} samples of the evaluation set are gone or cannot be read")

    def _content(self, one: Sample) -> bytes:
        content = (self.layout.blobs / one.path).read_bytes()
        if hashlib.sha256(content).hexdigest() != one.sha256:
            raise CanariError(f"the sample {one.sha256} has changed on disk: delete it, and add it again")
        return content
