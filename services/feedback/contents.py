"""Whether bytes are an input that a model can learn from, by what this service has at hand: it holds no runtime."""

from __future__ import annotations

import io
import threading

from PIL import Image

from canari.errors import Problem
from canari.runtime import rows
from canari.spec import Input, InputKind

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
# A decoded photo may take hundreds of megabytes: one is looked at at a time.
_LOOKING = threading.Lock()


def check(content: bytes, wanted: Input) -> None:
    """Raise Problem 400, 413 or 415 unless `content` can be read as such an input."""
    if not content:
        raise Problem(400, "empty-input", "The request holds no sample: send its bytes as the body.")
    if len(content) > wanted.max_bytes:
        detail = f"The sample has {len(content)} bytes; at most {wanted.max_bytes} are accepted."
        raise Problem(413, "body-too-large", detail)
    if wanted.kind is InputKind.IMAGE:
        with _LOOKING:
            _check_image(content, wanted.max_pixels)
    elif wanted.kind is InputKind.TABULAR:
        rows.decode(content, wanted.features)
    elif wanted.kind is InputKind.TEXT:
        _check_text(content)


def _check_image(content: bytes, max_pixels: int) -> None:
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                detail = f"The photo has {width} x {height} pixels; at most {max_pixels} in all are accepted."
                raise Problem(413, "too-many-pixels", detail, max_pixels=max_pixels)
            image.load()
    except Image.DecompressionBombError as error:
        raise Problem(413, "too-many-pixels", f"The photo is too large: {error}.") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        detail = "The bytes are not a whole photo that can be read. JPEG, PNG, WebP, GIF and BMP photos are accepted."
        raise Problem(400, "not-an-image", detail, reason=str(error)[:200]) from None


def _check_text(content: bytes) -> None:
    try:
        said = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Problem(400, "not-a-text", f"The bytes are no UTF-8 text: {error}.") from None
    if not said.strip():
        raise Problem(400, "empty-input", "The text is empty.")
