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
    """One endpoint that loads a photo with Pillow and asks Keras about it."""
    model = keras.models.load_model(model_file)
    height, width = model.input_shape[1:3]
    app = FastAPI()

    @app.post("/predict")
    def predict(file: UploadFile) -> dict[str, list[float]]:
        image = Image.open(io.BytesIO(file.file.read())).convert("RGB").resize((width, height))
        scores = model.predict(keras.utils.img_to_array(image)[None], verbose=0)[0]
        return {"scores": scores.tolist()}

    return app


if __name__ == "__main__":
    uvicorn.run(create_app(Path(sys.argv[1])), port=int(sys.argv[2]), log_level="warning")
