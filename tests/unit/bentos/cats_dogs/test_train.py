from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bentos.cats_dogs import train as cats_dogs
from canari.errors import CanariError
from canari.export import export
from canari.family import Examples, TrainingRun
from canari.keras_models import keras
from canari.spec_file import load_spec
from tests.conftest import ROOT

SIDE = 32


def examples(count: int = 48) -> Examples:
    """Dark photos are cats and bright ones dogs."""
    random = np.random.default_rng(0)
    labels = np.arange(count) % 2
    inputs = random.uniform(0, 110, (count, SIDE, SIDE, 3)) + 130 * labels[:, None, None, None]
    return Examples(inputs.astype(np.float32), labels, np.arange(count))


def run(folder: Path, **options: str) -> TrainingRun:
    return TrainingRun(load_spec(ROOT / "bentos" / "cats_dogs"), 1, folder / "checkpoints", ignore, options)


def ignore(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
    assert stage
    assert 0 <= done <= total
    assert all(np.isfinite(value) for value in figures.values())


@pytest.fixture(scope="module")
def base() -> Any:
    """A MobileNetV2 that has seen nothing."""
    keras.utils.set_random_seed(0)
    return keras.applications.MobileNetV2((SIDE, SIDE, 3), alpha=0.35, include_top=False, weights=None)


def as_npz(base: Any, file: Path) -> Path:
    arrays: dict[str, Any] = {f"{one.name}/{w.name}": np.asarray(w) for one in base.layers for w in one.weights}
    np.savez(file, **arrays)
    return file


def test_a_network_learns_from_scratch_and_is_exported_as_it_is(tmp_path: Path) -> None:
    data = examples()
    model = cats_dogs.train(data, run(tmp_path, epochs="4"))
    scores = model.predict(data.inputs)
    assert scores.shape == (48, 2)
    assert scores.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert (scores.argmax(axis=1) == data.labels).mean() > 0.8
    assert export(model, data.inputs, scores, tmp_path / "model.onnx") < 1e-4
    assert model.parameters["width"] == 0.25
    model.save(tmp_path / "kept")
    kept = keras.models.load_model(tmp_path / "kept" / "model.keras")
    assert np.abs(kept.predict_on_batch(data.inputs[:4]) - scores[:4]).max() < 1e-5


def test_the_whole_tutorial_network_has_its_2_7_million_weights() -> None:
    assert cats_dogs.network((180, 180, 3), 2).count_params() == 2_732_090


def test_a_head_on_a_base_is_one_model_that_is_exported_as_it_is(tmp_path: Path, base: Any) -> None:
    data = examples()
    file = as_npz(base, tmp_path / "base.npz")
    model = cats_dogs.train(data, run(tmp_path, base_weights=str(file)))
    scores = model.predict(data.inputs)
    assert (scores.argmax(axis=1) == data.labels).mean() > 0.9
    assert export(model, data.inputs, scores, tmp_path / "model.onnx") < 1e-3
    assert model.parameters["base_weights"] == "base.npz"


@pytest.mark.parametrize("name", ["base.npz", "base.weights.h5"])
def test_both_forms_of_base_weights_are_loaded(tmp_path: Path, base: Any, name: str) -> None:
    as_npz(base, tmp_path / "base.npz")
    base.save_weights(tmp_path / "base.weights.h5")
    wanted = base.get_weights()
    base.set_weights([weights + 1 for weights in wanted])
    cats_dogs._load_weights(base, tmp_path / name)
    for one, other in zip(base.get_weights(), wanted, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("none.h5", None, "there is no file of base weights"),
        ("other.npz", {"Conv1/kernel": np.zeros(3)}, "does not hold the weights of MobileNetV2"),
        ("broken.h5", b"not HDF5", "does not hold the weights of MobileNetV2"),
        ("broken.npz", b"not numpy", "does not hold the weights of MobileNetV2"),
        ("weights.pkl", b"", "are a .h5 or .npz file"),
    ],
)
def test_base_weights_that_do_not_fit_are_refused(
    tmp_path: Path, base: Any, name: str, content: bytes | dict[str, NDArray[np.float64]] | None, why: str
) -> None:
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif content is not None:
        np.savez(tmp_path / name, **content)  # type: ignore[arg-type]
    with pytest.raises(CanariError, match=why):
        cats_dogs._load_weights(base, tmp_path / name)


def test_a_head_needs_two_different_photos_of_each_label(tmp_path: Path) -> None:
    alike = replace(examples(8), groups=np.arange(8) % 2)
    with pytest.raises(CanariError, match="two different photos of each label"):
        cats_dogs.train(alike, run(tmp_path, base_weights="imagenet"))


@pytest.mark.parametrize(("name", "value"), [("epochs", "0"), ("epochs", "many"), ("width", "-1"), ("width", "inf")])
def test_an_option_that_makes_no_sense_is_refused(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(CanariError, match=f"the option {name} must be a number over 0"):
        cats_dogs.train(examples(4), run(tmp_path, **{name: value}))
