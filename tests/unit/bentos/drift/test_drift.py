import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest

from bentos.drift.data import generate
from bentos.drift.train import train
from canari.export import export
from canari.family import Examples, RawSample, TrainingRun, find_family
from tests.conftest import ROOT

FAMILY = find_family(ROOT / "bentos", "drift")


def examples(samples: Iterable[RawSample]) -> Examples:
    made = list(samples)
    inputs = np.stack([FAMILY.decode(one.content) for one in made])
    labels = np.array([FAMILY.spec.labels.index(one.label) for one in made])
    return Examples(inputs, labels, np.arange(len(made)))


def run(folder: Path) -> TrainingRun:
    def ignore(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        assert (stage, done, total) == ("train", 1, 1)
        assert figures["change"] < 1e-6

    return TrainingRun(FAMILY.spec, 0, folder, ignore)


def test_points_are_rows_on_both_sides_and_the_same_for_the_same_seed() -> None:
    once = list(generate(6, seed=1))
    assert once == list(generate(6, seed=1))
    assert once != list(generate(6, seed=2))
    assert [one.label for one in once] == ["below", "above"] * 3
    assert set(json.loads(once[0].content)) == {"x1", "x2"}
    assert once[0].source == "synthetic point"


def test_a_model_finds_the_line_and_errs_where_it_has_moved(tmp_path: Path) -> None:
    model = train(examples(generate(600, seed=1)), run(tmp_path))
    here, moved = examples(generate(400, seed=2)), examples(generate(400, seed=2, shift=1.5))
    accuracy, later = ((model.predict(d.inputs).argmax(axis=1) == d.labels).mean() for d in (here, moved))
    assert accuracy > 0.85
    assert later < accuracy - 0.15


def test_separable_points_do_not_break_training(tmp_path: Path) -> None:
    inputs = np.array([[0, -1], [0, -2], [0, 1], [0, 2]], np.float32)
    data = Examples(inputs, np.array([0, 0, 1, 1]), np.arange(4))
    scores = train(data, run(tmp_path)).predict(inputs)
    assert (scores.argmax(axis=1) == data.labels).all()
    assert np.isfinite(scores).all()


def test_the_export_answers_as_the_model_and_the_coefficients_are_kept(tmp_path: Path) -> None:
    data = examples(generate(200, seed=1))
    model = train(data, run(tmp_path))
    assert export(model, data.inputs, model.predict(data.inputs), tmp_path / "model.onnx") < 1e-6
    model.save(tmp_path / "kept")
    with np.load(tmp_path / "kept" / "model.npz") as kept:
        assert kept["weights"] == pytest.approx(model.weights)
