"""A training loop for Keras models that stops early and goes on where a killed run left off."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from canari.errors import CanariError
from canari.family import Examples, TrainingRun

_STATE = "state.json"


@dataclass(frozen=True, slots=True)
class Schedule:
    """At most `epochs` passes in batches of `batch`; `patience` of them without a lower validation loss end it."""

    epochs: int
    patience: int
    batch: int


def fit(
    model: Any,
    examples: Examples,
    rows: tuple[NDArray[np.int64], NDArray[np.int64]],
    run: TrainingRun,
    schedule: Schedule,
) -> int:
    """Train a compiled classifier on the rows to learn from, judged after each epoch on those to validate on.

    Each finished epoch is kept in `run.checkpoints`; what is found there is continued. Ends with the best epoch's
    weights and returns its number, counted from 1. The option `class_weights=balanced` has every label weigh the same,
    however rare it is. Raises CanariError where nothing can be validated on.
    """
    learned, validated = rows
    if not len(validated):
        raise CanariError("there are too few different samples to hold some out for validation: add some")
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    losses = _restore(model, run.checkpoints)
    while len(losses) < schedule.epochs and _waited(losses) < schedule.patience:
        _learn(model, examples, learned, run, schedule, len(losses))
        loss, accuracy = _validate(model, examples, validated, schedule.batch)
        losses.append(loss)
        _keep(model, run.checkpoints, losses)
        run.report("validate", len(losses), schedule.epochs, {"loss": loss, "accuracy": accuracy})
    best = int(np.argmin(losses)) + 1
    model.load_weights(_weights(run.checkpoints, best))
    return best


def _learn(
    model: Any, examples: Examples, learned: NDArray[np.int64], run: TrainingRun, schedule: Schedule, epoch: int
) -> None:
    batch = min(schedule.batch, len(learned))
    steps = len(learned) // batch
    order = np.random.default_rng((run.seed, epoch)).permutation(learned)[: steps * batch]
    weights = _class_weights(run)
    model.reset_metrics()
    for step, chosen in enumerate(order.reshape(steps, batch), start=1):
        figures = model.train_on_batch(
            examples.inputs[chosen], examples.labels[chosen], class_weight=weights, return_dict=True
        )
        done, total = epoch * steps + step, schedule.epochs * steps
        run.report("train", done, total, {name: float(value) for name, value in figures.items()})


def _class_weights(run: TrainingRun) -> dict[int, float] | None:
    wanted = run.options.get("class_weights", "none")
    if wanted not in {"none", "balanced"}:
        raise CanariError(f"the option class_weights is none or balanced, not {wanted!r}")
    if wanted == "none" or run.class_weights is None:
        return None
    return {label: float(weight) for label, weight in enumerate(run.class_weights)}


def _validate(model: Any, examples: Examples, validated: NDArray[np.int64], batch: int) -> tuple[float, float]:
    """Mean log loss and accuracy."""
    losses, right = 0.0, 0
    for start in range(0, len(validated), batch):
        chosen = validated[start : start + batch]
        truth = examples.labels[chosen]
        scores = model.predict_on_batch(examples.inputs[chosen])
        losses -= float(np.log(np.maximum(scores[np.arange(len(truth)), truth], 1e-7)).sum())
        right += int((scores.argmax(axis=1) == truth).sum())
    return losses / len(validated), right / len(validated)


def _waited(losses: list[float]) -> int:
    return len(losses) - 1 - int(np.argmin(losses)) if losses else 0


def _weights(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch:04d}.weights.h5"


def _restore(model: Any, folder: Path) -> list[float]:
    """Load the newest finished epoch, its optimizer included; returns every epoch's validation loss so far."""
    if not (folder / _STATE).exists():
        return []
    losses: list[float] = json.loads((folder / _STATE).read_text())["validation_losses"]
    model.optimizer.build(model.trainable_variables)
    model.load_weights(_weights(folder, len(losses)))
    return losses


def _keep(model: Any, folder: Path, losses: list[float]) -> None:
    """The state file comes last and at once, so that it never names weights that are not whole."""
    newest, best = _weights(folder, len(losses)), _weights(folder, int(np.argmin(losses)) + 1)
    model.save_weights(newest)
    unfinished = folder / f"{_STATE}.new"
    unfinished.write_text(json.dumps({"validation_losses": losses}))
    unfinished.replace(folder / _STATE)
    for file in folder.glob("epoch-*.weights.h5"):
        if file not in {newest, best}:
            file.unlink()
