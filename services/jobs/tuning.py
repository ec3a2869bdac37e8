"""Choosing a family's options by trying them, on parts of what is learned from: the evaluation set is not looked at."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from canari import dataset
from canari.errors import CanariError
from canari.family import Array, Examples, Family, TrainingRun
from canari.settings import Layout
from canari.types import Manifest
from services.jobs.making import Order
from services.jobs.progress import Report

_SHARE = 0.2
_BATCH = 256
_OPTIONS = "options"


def tune(
    layout: Layout, family: Family, order: Order, manifest: Manifest, trials: int, work: Path, report: Report
) -> Mapping[str, str]:
    """The best of `trials` sets of options that the family draws, by the log loss on samples left out of its training.

    A run that was killed goes on with the trials that are left: they are kept in `work`. Options of the order stay as
    they are. Raises CanariError where the family has nothing to tune.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    optuna.logging.set_verbosity(logging.WARNING)
    work.mkdir(parents=True, exist_ok=True)
    learned, validated = _halves(layout, family, order, manifest, work, report)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(work / "trials.log"))),
        sampler=optuna.samplers.TPESampler(seed=order.seed),
        study_name=family.name,
        load_if_exists=True,
    )
    while (done := len(study.get_trials(states=[optuna.trial.TrialState.COMPLETE]))) < trials:
        report("tune", done, trials, {})
        trial = study.ask()
        drawn = family.search(trial)
        if drawn is None:
            raise CanariError(f"{family.name} has nothing to tune: its train.py offers no search(trial)")
        options = {**drawn, **order.options}
        trial.set_user_attr(_OPTIONS, options)
        folder = work / f"trial-{trial.number}"
        study.tell(trial, _loss(family, replace(order, options=options), learned, validated, folder, report))
    report("tune", trials, trials, {"loss": float(study.best_value)})
    return dict(study.best_trial.user_attrs[_OPTIONS])


def _loss(family: Family, order: Order, learned: Examples, validated: Examples, folder: Path, report: Report) -> float:
    weights = dataset.class_weights(learned.labels, len(family.spec.labels))
    run = TrainingRun(family.spec, order.seed, folder, report, order.options, weights)
    scores = family.train(learned, run).predict(validated.inputs)
    chances = scores[np.arange(len(validated)), validated.labels]
    return float(-np.log(np.maximum(chances, 1e-7)).mean())


def _halves(
    layout: Layout, family: Family, order: Order, manifest: Manifest, work: Path, report: Report
) -> tuple[Examples, Examples]:
    chosen = [one for one in manifest.samples if not one.evaluation]
    whole = dataset.load(
        chosen, family, layout.blobs, work / "tuning.npy", lambda done, total: report("decode", done, total, {})
    )
    learned, validated = dataset.split(whole, _SHARE, order.seed)
    if not len(validated):
        raise CanariError("there are too few different samples to tune on: add some")
    return _part(whole, learned, work / "learned.npy"), _part(whole, validated, work / "validated.npy")


def _part(whole: Examples, rows: NDArray[np.int64], file: Path) -> Examples:
    """Some rows, in a file of their own: a dataset may be larger than memory."""
    inputs: Array = np.lib.format.open_memmap(
        file, mode="w+", dtype=np.float32, shape=(len(rows), *whole.inputs.shape[1:])
    )
    for start in range(0, len(rows), _BATCH):
        inputs[start : start + _BATCH] = whole.inputs[rows[start : start + _BATCH]]
    return Examples(inputs, whole.labels[rows], whole.groups[rows])
