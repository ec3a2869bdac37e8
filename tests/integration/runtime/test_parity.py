"""What serving sees must be what training saw: TensorFlow's own decoding and resizing are the measure."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from canari.keras_models import KerasModel, keras
from canari.runtime import images
from canari.runtime.engine import OnnxEngine

SIZE = (180, 180)
LIMIT = 50_000_000
Array = NDArray[np.float32]


def drawn(number: int) -> bytes:
    """A JPEG of shapes and noise; size, quality, subsampling and mode vary with `number`."""
    rng = np.random.default_rng(number)
    width, height = (int(size) for size in rng.integers(40, 900, 2))
    noise = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    image = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y, across, down = (int(number) for number in rng.integers(5, 400, 4))
        draw.ellipse([x, y, x + across, y + down], tuple(int(level) for level in rng.integers(0, 256, 3)))
    mode = ("RGB", "RGB", "L")[number % 3]
    buffer = io.BytesIO()
    image.convert(mode).save(
        buffer, "JPEG", quality=60 + number % 40, subsampling=number % 3, progressive=number % 2 == 1
    )
    return buffer.getvalue()


@pytest.fixture(scope="module")
def photos(real_data: Path | None) -> list[bytes]:
    """A hundred real photos where there are any, large and small; else a hundred drawn ones."""
    if real_data is None:
        return [drawn(number) for number in range(100)]
    root = real_data / "cats_dogs"
    files = [
        *sorted(root.glob("originals/*.jpg")),
        *sorted(root.glob("cat/*.jpg"))[:50],
        *sorted(root.glob("dog/*.jpg")),
    ]
    return [file.read_bytes() for file in files[:100]]


def as_trained(payload: bytes, *, antialias: bool = False) -> Array:
    """What Keras' image pipeline makes of a JPEG."""
    import tensorflow as tf

    pixels = tf.io.decode_jpeg(payload, channels=3)
    resized: Array = tf.image.resize(pixels, SIZE, method="bilinear", antialias=antialias).numpy()
    return resized


def as_served(payload: bytes) -> Array:
    return images.decode(payload, SIZE, LIMIT)


def sensitive_model() -> KerasModel:
    """A small CNN with fixed weights that answers to single pixels, so that a difference cannot hide."""
    keras.utils.set_random_seed(7)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((*SIZE, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(16, 5, strides=2, activation="relu", padding="same"),
            layers.SeparableConv2D(32, 3, strides=2, activation="relu", padding="same"),
            layers.MaxPooling2D(3),
            layers.Conv2D(32, 3, activation="relu"),
            layers.Flatten(),
            layers.LayerNormalization(),
            layers.Dense(2, kernel_initializer=keras.initializers.RandomNormal(stddev=0.05), activation="softmax"),
        ]
    )
    return KerasModel(model)


def test_a_hundred_photos_get_the_probabilities_that_keras_own_pipeline_gives(
    photos: list[bytes], tmp_path: Path
) -> None:
    assert len(photos) == 100
    model = sensitive_model()
    trained = model.predict(np.stack([as_trained(photo) for photo in photos]))
    model.export(tmp_path / "model.onnx")
    engine = OnnxEngine(tmp_path / "model.onnx", threads=2)
    served = np.concatenate([engine.predict(as_served(photo)[None], alone=True)[0] for photo in photos])
    difference = float(np.abs(trained - served).max())
    print(f"largest difference of a probability on {len(photos)} photos: {difference:.2e}")
    assert difference <= 1e-3
    # The measure itself: a resize that is only a little other moves them over ten times further than is allowed.
    other = model.predict(np.stack([as_trained(photo, antialias=True) for photo in photos]))
    moved = float(np.abs(trained - other).max())
    print(f"by an antialiased resize instead: {moved:.2e}")
    assert moved > 0.01


def test_pixels_are_tensorflows_to_the_last_bit(photos: list[bytes]) -> None:
    kinds = [drawn(number) for number in range(100, 124)]
    worst = max(float(np.abs(as_trained(payload) - as_served(payload)).max()) for payload in [*photos, *kinds])
    assert worst == 0
