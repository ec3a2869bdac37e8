from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from canari.dataset import class_weights
from canari.errors import CanariError
from canari.family import Examples, TrainingRun
from canari.keras_models import keras
from canari.keras_training import Schedule, fit
from canari.spec_file import load_spec
from tests.conftest import ROOT

ROWS = (np.arange(0, 48), np.arange(48, 64))


class Killed(Exception):  # noqa: N818
    """Stands for the end of a process."""


def examples() -> Examples:
    random = np.random.default_rng(0)
    inputs = random.normal(size=(64, 2)).astype(np.float32)
    return Examples(inputs, (inputs[:, 0] > inputs[:, 1]).astype(np.int64), np.arange(64))


def network(rate: float = 0.1) -> Any:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, activation="softmax")])
    model.compile(optimizer=keras.optimizers.Adam(rate), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


class Watch:
    """Remembers the epochs that were finished, and ends the process after some step."""

    def __init__(self, kill_at_step: int | None = None) -> None:
        self.kill_at_step = kill_at_step
        self.epochs: list[int] = []

    def __call__(self, stage: str, done: int, _total: int, _figures: Mapping[str, float]) -> None:
        if stage == "validate":
            self.epochs.append(done)
        if stage == "train" and done == self.kill_at_step:
            raise Killed


def run(folder: Path, watch: Watch) -> TrainingRun:
    return TrainingRun(load_spec(ROOT / "bentos" / "drift"), 7, folder, watch)


def test_a_killed_run_goes_on_after_its_last_finished_epoch_and_ends_as_if_never_killed(tmp_path: Path) -> None:
    schedule = Schedule(epochs=5, patience=5, batch=16)
    whole = network()
    best = fit(whole, examples(), ROWS, run(tmp_path / "whole", Watch()), schedule)
    killed, resumed = network(), network()
    with pytest.raises(Killed):
        fit(killed, examples(), ROWS, run(tmp_path / "killed", Watch(kill_at_step=8)), schedule)
    watch = Watch()
    assert fit(resumed, examples(), ROWS, run(tmp_path / "killed", watch), schedule) == best
    assert watch.epochs == [3, 4, 5]
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        assert one == pytest.approx(other, abs=1e-6)


def test_a_run_that_was_finished_is_not_run_again(tmp_path: Path) -> None:
    schedule = Schedule(epochs=2, patience=5, batch=16)
    fit(network(), examples(), ROWS, run(tmp_path, Watch()), schedule)
    watch = Watch()
    fit(network(), examples(), ROWS, run(tmp_path, watch), schedule)
    assert watch.epochs == []


def test_training_stops_when_it_no_longer_helps_and_keeps_the_best_epoch(tmp_path: Path) -> None:
    watch = Watch()
    model = network(rate=30.0)
    best = fit(model, examples(), ROWS, run(tmp_path, watch), Schedule(epochs=60, patience=3, batch=16))
    assert watch.epochs[-1] == best + 3
    kept = sorted(file.name for file in tmp_path.glob("*.h5"))
    assert kept == sorted({f"epoch-{best:04d}.weights.h5", f"epoch-{best + 3:04d}.weights.h5"})


def test_fewer_examples_than_a_batch_are_one_batch(tmp_path: Path) -> None:
    watch = Watch()
    rows = (np.arange(5), np.arange(5, 8))
    fit(network(), examples(), rows, run(tmp_path, watch), Schedule(epochs=1, patience=1, batch=16))
    assert watch.epochs == [1]


def test_nothing_to_validate_on_is_refused(tmp_path: Path) -> None:
    rows = (np.arange(5), np.arange(0))
    with pytest.raises(CanariError, match="too few different samples"):
        fit(network(), examples(), rows, run(tmp_path, Watch()), Schedule(epochs=1, patience=1, batch=16))


def test_a_rare_label_weighs_as_much_as_the_others_where_that_is_asked_for(tmp_path: Path) -> None:
    """Nothing in the inputs tells the labels apart: what is learned is how much each label weighs."""
    rare = Examples(np.zeros((64, 2), np.float32), (np.arange(64) % 8 == 0).astype(np.int64), np.arange(64))
    weights, shares = class_weights(rare.labels[ROWS[0]], 2), {}
    for wanted in ("none", "balanced"):
        options = {"class_weights": wanted}
        told = replace(run(tmp_path / wanted, Watch()), options=options, class_weights=weights)
        model = network()
        fit(model, rare, ROWS, told, Schedule(epochs=40, patience=40, batch=16))
        shares[wanted] = float(model.predict_on_batch(rare.inputs[:1])[0, 1])
    assert shares["none"] == pytest.approx(1 / 8, abs=0.05)
    assert shares["balanced"] > 0.25
    odd = replace(run(tmp_path / "odd", Watch()), options={"class_weights": "heavy"})
    with pytest.raises(CanariError, match="none or balanced, not 'heavy'"):
        fit(network(), rare, ROWS, odd, Schedule(epochs=1, patience=1, batch=16))
