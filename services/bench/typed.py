"""BentoML's own way: ``bentoml serve services.bench.typed:Photos --arg model=MODEL.keras``."""

from __future__ import annotations

import bentoml
import keras
from PIL.Image import Image
from pydantic import BaseModel


class Arguments(BaseModel):
    """What the service is told."""

    model: str


MODEL_FILE = bentoml.use_arguments(Arguments).model


@bentoml.service
class Photos:
    """A typed endpoint: BentoML reads the photo, Keras answers."""

    def __init__(self) -> None:
        self.model = keras.models.load_model(MODEL_FILE)

    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, photo: Image) -> list[float]:
        """Probabilities, in the labels' order."""
        height, width = self.model.input_shape[1:3]
        resized = photo.convert("RGB").resize((width, height))
        scores: list[float] = self.model.predict(keras.utils.img_to_array(resized)[None], verbose=0)[0].tolist()
        return scores
