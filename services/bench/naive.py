"""The server as it is often written: ``python -m services.bench.naive MODEL.keras PORT``."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import keras
import uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image


def create_app(model_file: Path) -> FastAPI:
    """Load photos with Pillow and ask Keras about each."""
    model = keras.models.load_model(model_file)
    height, width = model.input_shape[1:3]
    app = FastAPI()

    def scores(content: bytes) -> dict[str, list[float]]:
        image = Image.open(io.BytesIO(content)).convert("RGB").resize((width, height))
        return {"scores": model.predict(keras.utils.img_to_array(image)[None])[0].tolist()}

    @app.post("/predict")
    async def predict(file: UploadFile) -> dict[str, list[float]]:
        """As most people write it, after FastAPI's own example: the event loop waits for the model."""
        return scores(await file.read())

    @app.post("/predict-in-threads")
    def predict_in_threads(file: UploadFile) -> dict[str, list[float]]:
        """As those write it who know that a plain function runs in FastAPI's thread pool."""
        return scores(file.file.read())

    return app


if __name__ == "__main__":
    uvicorn.run(create_app(Path(sys.argv[1])), port=int(sys.argv[2]), log_level="warning")
