"""Decoding and resizing photos so that a model sees exactly what it saw in training.

JPEG is decoded as TensorFlow's `decode_jpeg` does by default (fast integer DCT, fancy upsampling), and resized as
`tf.image.resize` does (bilinear, half-pixel centres, no antialiasing). Like both, it leaves EXIF orientation alone.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from canari.errors import Problem

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
ACCEPTED = "JPEG, PNG, WebP, GIF (its first frame) and BMP photos are accepted."

_Pixels = NDArray[np.uint8]
_Indices = NDArray[np.intp]

# The pixel limit below is the specification's, not Pillow's.
Image.MAX_IMAGE_PIXELS = None


def decode(payload: bytes, size: tuple[int, int], max_pixels: int) -> NDArray[np.float32]:
    """A photo as float32 (height, width, 3), RGB, 0 to 255.

    `size` is (height, width). `max_pixels` is compared with the photo's header before anything is decoded. Raises
    Problem: empty-input, not-an-image, truncated-image or too-many-pixels.
    """
    if not payload:
        raise Problem(400, "empty-input", f"The request holds no photo. {ACCEPTED}")
    pixels = _jpeg(payload, max_pixels) if payload.startswith(b"\xff\xd8\xff") else _other(payload, max_pixels)
    return resize(pixels, *size)


def resize(pixels: _Pixels, height: int, width: int) -> NDArray[np.float32]:
    """Bilinear, half-pixel centres, no antialiasing: (h, w, 3) uint8 to (height, width, 3) float32.

    The same operations in the same order as `tf.image.resize`, so the same numbers to the last bit. Only the pixels
    that count are ever float32: a whole 50-megapixel photo would take 600 MB.
    """
    above, below, down = _neighbours(pixels.shape[0], height)
    left, right, across = _neighbours(pixels.shape[1], width)
    upper, lower = (
        _between(row.take(left, axis=1), row.take(right, axis=1), across[:, None])
        for row in (pixels.take(above, axis=0), pixels.take(below, axis=0))
    )
    return _between(upper, lower, down[:, None, None])


def _neighbours(size: int, wanted: int) -> tuple[_Indices, _Indices, NDArray[np.float32]]:
    """For each of `wanted` places along an axis: the two pixels it lies between, and how near it is to the second."""
    centres = (np.arange(wanted, dtype=np.float32) + np.float32(0.5)) * np.float32(size / wanted) - np.float32(0.5)
    floor = np.floor(centres)
    first = np.maximum(floor, 0).astype(np.intp)
    second = np.minimum(np.ceil(centres), size - 1).astype(np.intp)
    return first, second, centres - floor


def _between(first: NDArray[Any], second: NDArray[Any], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    mixed = second.astype(np.float32)
    mixed -= first
    mixed *= weight
    mixed += first
    return mixed


def _jpeg(payload: bytes, max_pixels: int) -> _Pixels:
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(payload, strict=False)
    except (ValueError, KeyError):
        return _other(payload, max_pixels)
    _check_pixels(height, width, max_pixels)
    if colours in {"CMYK", "YCCK"}:
        return _other(payload, max_pixels)
    # Harmless oddities, such as stray bytes between segments, are common in real photos; a missing end is not.
    for strict in (True, False):
        try:
            return _decode_jpeg(payload, strict=strict)
        except ValueError as error:
            if "premature end" in str(error).lower():
                raise _truncated() from None
    return _other(payload, max_pixels)


def _decode_jpeg(payload: bytes, *, strict: bool) -> _Pixels:
    pixels: _Pixels = simplejpeg.decode_jpeg(payload, "RGB", fastdct=True, fastupsample=False, strict=strict)
    return pixels


def _other(payload: bytes, max_pixels: int) -> _Pixels:
    try:
        with Image.open(io.BytesIO(payload), formats=FORMATS) as image:
            _check_pixels(image.height, image.width, max_pixels)
            image.load()
            if image.mode.startswith("I;16"):
                # Pillow clips 16-bit grey to white; the high byte is what TensorFlow's 8-bit decoder keeps.
                grey = (np.asarray(image) >> 8).astype(np.uint8)
                return np.repeat(grey[:, :, None], 3, axis=2)
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if "truncated" in str(error).lower():
            raise _truncated() from None
        raise _unreadable(error) from None


def _check_pixels(height: int, width: int, max_pixels: int) -> None:
    if height * width > max_pixels:
        raise Problem(
            413,
            "too-many-pixels",
            f"The photo has {width} x {height} pixels; at most {max_pixels} in all are accepted.",
            max_pixels=max_pixels,
        )


def _truncated() -> Problem:
    return Problem(400, "truncated-image", f"The photo ends before it is complete: send all of it. {ACCEPTED}")


def _unreadable(error: Exception) -> Problem:
    return Problem(
        400, "not-an-image", f"The bytes are not a photo that can be read. {ACCEPTED}", reason=str(error)[:200]
    )
