"""Training: the small Xception of Keras' tutorial, or a new head on a pretrained MobileNetV2.

The network is that of "Image classification from scratch" (F. Chollet, keras.io/examples/vision/
image_classification_from_scratch), which takes thousands of photos; with fewer than that a quarter of its width learns
faster and no worse. With a base (Sandler et al., "MobileNetV2", 2018) a few hundred photos suffice.

Options: `epochs`, `width` (of the tutorial's network, 1 is the tutorial's own), `base_weights` (a MobileNetV2 0.35
"notop" file, .h5 or .npz, or `imagenet` for Keras' own download).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from canari.dataset import split
from canari.errors import CanariError
from canari.family import Array, Examples, TrainingRun
from canari.keras_models import KerasModel, keras
from canari.keras_training import Schedule, fit

_EPOCHS = 25
_PATIENCE = 8
_MANY = 2000
_FEATURE_BATCH = 32
_VALIDATION_SHARE = 0.15
_BASE_ALPHA = 0.35
_STRENGTHS = (1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1)
_FOLDS = 5

_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, slots=True)
class _Recipe:
    """How wide a network is trained, and how."""

    width: float
    batch: int
    learning_rate: float


_WIDE = _Recipe(width=1.0, batch=32, learning_rate=1e-3)
_NARROW = _Recipe(width=0.25, batch=8, learning_rate=2e-3)


def train(examples: Examples, run: TrainingRun) -> KerasModel:
    """Train from scratch, or a head only where the option `base_weights` names a base."""
    keras.utils.set_random_seed(run.seed)
    base_weights = run.options.get("base_weights")
    return _transfer(examples, run, base_weights) if base_weights else _from_scratch(examples, run)


def search(trial: Any) -> Mapping[str, str]:
    """Options drawn with an `optuna.Trial`: how wide a network is trained from scratch."""
    return {"width": str(trial.suggest_categorical("width", [0.25, 0.5, 1.0]))}


def network(shape: tuple[int, ...], labels: int, width: float = 1.0) -> Any:
    """The tutorial's small Xception, pixels 0 to 255 in, probabilities out; `width` scales its filters."""
    layers = keras.layers

    def filters(count: int) -> int:
        # Other widths than multiples of 8 are slower, and crash TensorFlow 2.21 on some CPUs.
        return max(8, 8 * round(count * width / 8))

    def normalised(x: Any) -> Any:
        # The default momentum of 0.99 needs several hundred steps before inference agrees with training.
        return layers.BatchNormalization(momentum=0.8)(x)

    inputs = keras.Input(shape, name="input")
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Conv2D(filters(128), 3, strides=2, padding="same")(x)
    x = layers.Activation("relu")(normalised(x))
    for count in (256, 512, 728):
        before = x
        for _ in range(2):
            x = layers.Activation("relu")(x)
            x = normalised(layers.SeparableConv2D(filters(count), 3, padding="same")(x))
        x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
        x = layers.add([x, layers.Conv2D(filters(count), 1, strides=2, padding="same")(before)])
    x = normalised(layers.SeparableConv2D(filters(1024), 3, padding="same")(x))
    x = layers.GlobalAveragePooling2D()(layers.Activation("relu")(x))
    x = layers.Dropout(0.25)(x)
    return keras.Model(inputs, layers.Dense(labels, activation="softmax", name="scores")(x))


def _from_scratch(examples: Examples, run: TrainingRun) -> KerasModel:
    recipe = _WIDE if len(examples) >= _MANY else _NARROW
    epochs = _positive(run.options, "epochs", int, _EPOCHS)
    width = _positive(run.options, "width", float, recipe.width)
    learned, validated = split(examples, _VALIDATION_SHARE, run.seed)
    model = network(examples.inputs.shape[1:], len(run.spec.labels), width)
    augmented = _augmented(model, recipe, epochs * (len(learned) // recipe.batch), run.seed)
    best = fit(augmented, examples, (learned, validated), run, Schedule(epochs, _PATIENCE, recipe.batch))
    parameters: dict[str, str | int | float] = {
        "architecture": "small Xception",
        "width": width,
        "epochs": epochs,
        "best_epoch": best,
        "batch": recipe.batch,
        "learning_rate": recipe.learning_rate,
    }
    return KerasModel(model, parameters)


def _augmented(model: Any, recipe: _Recipe, steps: int, seed: int) -> Any:
    """The model behind the tutorial's augmentation, compiled: what is trained, not what is kept."""
    augmented = keras.Sequential(
        [
            keras.Input(model.input_shape[1:]),
            keras.layers.RandomFlip("horizontal", seed=seed),
            keras.layers.RandomRotation(0.1, seed=seed),
            model,
        ]
    )
    warmup = max(1, steps // 8)
    rate = keras.optimizers.schedules.CosineDecay(
        recipe.learning_rate / 20, max(1, steps - warmup), warmup_target=recipe.learning_rate, warmup_steps=warmup
    )
    augmented.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,  # XLA takes 20 s to compile this on a CPU, and runs no faster
    )
    return augmented


def _transfer(examples: Examples, run: TrainingRun, base_weights: str) -> KerasModel:
    folds = _folds(examples)
    base = _base(examples.inputs.shape[1:], base_weights)
    inputs = keras.Input(examples.inputs.shape[1:], name="input")
    x = base(keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs), training=False)
    pooled = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    features = _features(pooled, examples, run)
    run.report("head", 0, 1, {})
    kernel, bias, strength = _head(features, examples, folds)
    run.report("head", 1, 1, {"regularisation": strength})
    head = keras.layers.Dense(len(run.spec.labels), activation="softmax", name="scores")
    model = keras.Model(inputs, head(pooled.output))
    head.set_weights([kernel, bias])
    parameters: dict[str, str | int | float] = {
        "architecture": f"MobileNetV2 {_BASE_ALPHA}, frozen, and a linear head",
        "base_weights": "imagenet" if base_weights == "imagenet" else Path(base_weights).name,
        "regularisation": strength,
    }
    return KerasModel(model, parameters)


def _base(shape: tuple[int, ...], weights: str) -> Any:
    named = weights == "imagenet"
    base = keras.applications.MobileNetV2(
        shape, alpha=_BASE_ALPHA, include_top=False, weights="imagenet" if named else None
    )
    base.trainable = False
    if not named:
        _load_weights(base, Path(weights))
    return base


def _load_weights(base: Any, file: Path) -> None:
    if not file.is_file():
        raise CanariError(f"there is no file of base weights {file}; give a .h5 or .npz file, or `imagenet`")
    try:
        if file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as arrays:
                for layer in base.layers:
                    names = [name for name in arrays.files if name.rpartition("/")[0] == layer.name]
                    layer.set_weights([arrays[name] for name in names])
        elif file.suffix == ".h5":
            base.load_weights(file)
        else:
            raise CanariError(f"{file}: base weights are a .h5 or .npz file, or `imagenet`")
    except (OSError, ValueError) as error:
        raise CanariError(
            f"{file} does not hold the weights of MobileNetV2 {_BASE_ALPHA} without its top: {str(error)[:300]}"
        ) from error


def _features(pooled: Any, examples: Examples, run: TrainingRun) -> Array:
    """What the base sees in each photo and in its mirror image: (n, 2, features)."""
    rows = []
    for start in range(0, len(examples), _FEATURE_BATCH):
        batch = np.asarray(examples.inputs[start : start + _FEATURE_BATCH])
        rows.append(np.stack([pooled.predict_on_batch(view) for view in (batch, batch[:, :, ::-1])], axis=1))
        run.report("features", min(start + _FEATURE_BATCH, len(examples)), len(examples), {})
    return np.concatenate(rows)


def _folds(examples: Examples) -> int:
    fewest = min(len(np.unique(examples.groups[examples.labels == label])) for label in np.unique(examples.labels))
    if fewest < 2:
        raise CanariError("a head needs at least two different photos of each label to learn from: add some")
    return min(_FOLDS, fewest)


def _head(features: Array, examples: Examples, folds: int) -> tuple[Array, Array, float]:
    """A logistic regression on standardised features, its L2 strength chosen by cross-validation along the groups.

    Returns the weights (features, labels) and biases (labels,) for the features as they are, and the strength.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    views = features.shape[1]
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
        {"logisticregression__C": _STRENGTHS},
        scoring="neg_log_loss",
        cv=StratifiedGroupKFold(folds),
    )
    columns = features.reshape(-1, features.shape[-1])
    search.fit(columns, np.repeat(examples.labels, views), groups=np.repeat(examples.groups, views))
    scaler, regression = (step for _, step in search.best_estimator_.steps)
    kernel = (regression.coef_ / scaler.scale_).T
    bias = regression.intercept_ - scaler.mean_ @ kernel
    if len(bias) == 1:
        kernel, bias = np.hstack([0 * kernel, kernel]), np.append(0, bias)
    return kernel.astype(np.float32), bias.astype(np.float32), float(regression.C)


def _positive(options: Mapping[str, str], name: str, kind: type[_Number], default: _Number) -> _Number:
    try:
        value = kind(options.get(name, default))
    except ValueError:
        value = kind(0)
    if not 0 < value < float("inf"):
        raise CanariError(f"the option {name} must be a number over 0, not {options[name]!r}")
    return value
