"""A model family's folder, ``bentos/NAME/{model.yaml, model, data, train}.py``, and how the platform finds it.

* ``model.decode(payload, spec)`` turns one request's payload into the model's input: serving and training share it.
* ``data.generate(count, seed)`` yields synthetic samples, so that everything starts with no data.
* ``train.train(examples, run)`` returns a TrainedModel. Where there is a ``train.search(trial)``, it draws options
  with an Optuna trial, and retraining may tune by them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from canari.errors import CanariError
from canari.spec import ModelSpec
from canari.spec_file import load_spec

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RawSample:
    """A sample as a family makes it: the bytes a request would hold, and what they really are."""

    content: bytes
    label: str
    source: str


@dataclass(frozen=True, slots=True)
class Examples:
    """Decoded examples, which may lie in a file on disk: read them a batch at a time.

    `inputs` is (n, *input shape), `labels` (n,) holds indices into the spec's labels, and `groups` (n,) numbers that
    near-duplicates share: what a family holds out for itself, it cuts along them.
    """

    inputs: Array
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """What a family's training is told besides its examples.

    `checkpoints` is a folder that outlives a killed run: training found there is continued. `report(stage, done,
    total, figures)` shows progress. `options` are the command's own (`epochs`, `base_weights`). `class_weights`
    (labels,) make every label weigh the same, for a family that wants it so.
    """

    spec: ModelSpec
    seed: int
    checkpoints: Path
    report: Callable[[str, int, int, Mapping[str, float]], None]
    options: Mapping[str, str] = field(default_factory=dict)
    class_weights: NDArray[np.float64] | None = None


def parse_options(pairs: Iterable[str]) -> dict[str, str]:
    """A training's options as a command line gives them, each KEY=VALUE; raises CanariError."""
    given = list(pairs)
    wrong = [pair for pair in given if "=" not in pair]
    if wrong:
        raise CanariError(f"an option is written KEY=VALUE, not {wrong[0]!r}")
    return dict(pair.split("=", 1) for pair in given)


class TrainedModel(Protocol):
    """A model that was trained in this process and can be measured, kept and exported."""

    @property
    def parameters(self) -> Mapping[str, str | int | float]:
        """How it was trained, for its lineage."""

    def predict(self, inputs: Array) -> Array:
        """Probabilities (n, labels) of inputs (n, *input shape), as the training framework computes them."""

    def export(self, path: Path) -> None:
        """Write ONNX: one float32 input (n, *input shape), one float32 output (n, labels) of probabilities."""

    def save(self, folder: Path) -> None:
        """Keep the model in its framework's own format."""


class Decode(Protocol):
    """A family's `model.decode`."""

    def __call__(self, payload: bytes, spec: ModelSpec) -> Array:
        """One input, without the batch axis; raises canari.errors.Problem 4xx that says what is accepted."""


@dataclass(frozen=True, slots=True)
class Family:
    """A family's folder, found; its modules are imported when first asked for."""

    folder: Path
    spec: ModelSpec

    @property
    def name(self) -> str:
        """The model's name, which is the folder's."""
        return self.spec.name

    def decode(self, payload: bytes) -> Array:
        """`model.decode` with this family's specification."""
        return cast("Decode", self._module("model").decode)(payload, self.spec)

    def generate(self, count: int, seed: int) -> Iterator[RawSample]:
        """`data.generate`: synthetic samples, the labels in turn."""
        return cast("Iterator[RawSample]", self._module("data").generate(count, seed))

    def train(self, examples: Examples, run: TrainingRun) -> TrainedModel:
        """`train.train`."""
        return cast("TrainedModel", self._module("train").train(examples, run))

    def search(self, trial: Any) -> Mapping[str, str] | None:
        """`train.search`: options drawn with an `optuna.Trial`; None where the family has nothing to tune."""
        draw = getattr(self._module("train"), "search", None)
        return None if draw is None else cast("Mapping[str, str]", draw(trial))

    def _module(self, name: str) -> ModuleType:
        parent = str(self.folder.parent.parent)
        if parent not in sys.path:
            sys.path.insert(0, parent)
        return importlib.import_module(f"{self.folder.parent.name}.{self.name}.{name}")


def find_family(families_dir: Path, name: str) -> Family:
    """The family called `name`; raises CanariError that names those there are."""
    folder = families_dir / name
    if not (folder / "model.yaml").is_file():
        known = ", ".join(sorted(f.parent.name for f in families_dir.glob("*/model.yaml"))) or "none"
        msg = f"there is no model {name!r} in {families_dir}; the models there are: {known}"
        raise CanariError(msg)
    spec = load_spec(folder)
    if spec.name != name:
        msg = (
            f"{folder / 'model.yaml'}: name: it says {spec.name!r}, but the folder is called {name!r}; make them agree"
        )
        raise CanariError(msg)
    return Family(folder, spec)


def find_families(families_dir: Path) -> list[Family]:
    """Every family there is, by name."""
    return [find_family(families_dir, file.parent.name) for file in sorted(families_dir.glob("*/model.yaml"))]
