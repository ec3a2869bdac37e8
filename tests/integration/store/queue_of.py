"""Kept inputs for the tests of the queue."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from PIL import Image
from sqlalchemy import Engine, func, insert, select
from sqlalchemy.engine import Row

from canari.blobs import FolderBlobs, inputs_folder
from canari.dataset import group_of, held_out
from canari.spec import InputKind
from canari.store import predictions
from canari.store import tables as t
from tests.integration.store.samples_of import prediction

ADA = "visitor:ada"


def photo(seed: int) -> bytes:
    """A photo of blots: each seed's has another perceptual hash, as good as always."""
    small = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(small).resize((64, 48), Image.Resampling.BICUBIC).save(content, "PNG")
    return content.getvalue()


def photos(*, judged: bool = False) -> Iterator[bytes]:
    """Photos whose groups are learned from, or judged on, where a fifth is held out."""
    seed = 0
    while True:
        content = photo(seed)
        if held_out(group_of(content, InputKind.IMAGE), 0.2) is judged:
            yield content
        seed += 1


def keep(engine: Engine, blobs: FolderBlobs, content: bytes, *, answered: bool = True, **changes: Any) -> UUID:
    """Keep an input as its sender agreed, with the prediction that answered it; `changes` are of either's columns."""
    subject = changes.get("subject", ADA)
    made = {name: changes.pop(name) for name in ("label", "score", "scores") if name in changes}
    row = prediction(subject=subject, **made)
    values = {
        "model": "cats_dogs",
        "prediction_id": row.id,
        "version": 1,
        "sha256": blobs.put(inputs_folder("cats_dogs", subject), content),
        "subject": subject,
        "media_type": "image/png",
        "bytes": len(content),
        "consented": True,
        "keep_until": func.now() + timedelta(days=30),
        **changes,
    }
    if answered:
        predictions.append(engine, "cats_dogs", 1, [row])
    with engine.begin() as connection:
        connection.execute(insert(t.inputs).values(values))
    return row.id


def rows(engine: Engine) -> list[Row[Any]]:
    """Every sample."""
    with engine.connect() as connection:
        return list(connection.execute(select(t.samples).order_by(t.samples.c.created_at)))


def kept_samples(root: Path) -> set[str]:
    """What lies among the samples' bytes."""
    return {file.name for file in (root / "samples").rglob("*") if file.is_file()}
