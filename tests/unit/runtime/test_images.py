from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from canari.errors import Problem
from canari.runtime import images
from tests.unit.runtime.kit import photo

LIMIT = 10_000_000


def decode(payload: bytes, size: tuple[int, int] = (4, 4)) -> NDArray[np.float32]:
    return images.decode(payload, size, LIMIT)


def refusal(payload: bytes, limit: int = LIMIT) -> Problem:
    with pytest.raises(Problem) as caught:
        images.decode(payload, (4, 4), limit)
    return caught.value


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_every_accepted_format_is_read(kind: str) -> None:
    pixels = decode(photo("red", kind=kind))
    assert pixels.shape == (4, 4, 3)
    assert pixels.dtype == np.float32
    assert np.allclose(pixels, [255, 0, 0], atol=4)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_jpegs_become_rgb(mode: str) -> None:
    assert np.allclose(decode(photo("white", mode=mode)), 255, atol=4)


def test_grey_and_transparent_pngs_become_rgb() -> None:
    assert np.allclose(decode(photo("gray", kind="PNG", mode="L")), 128, atol=1)
    assert np.allclose(decode(photo("lime", kind="PNG", mode="RGBA")), [0, 255, 0])
    assert np.allclose(decode(photo("lime", kind="PNG", mode="P")), [0, 255, 0])


def test_sixteen_bit_grey_keeps_its_high_byte() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.full((6, 6), 0x80FF, np.uint16)).save(buffer, "PNG")
    assert np.allclose(decode(buffer.getvalue()), 0x80)


def test_the_first_frame_of_an_animation_counts() -> None:
    buffer = io.BytesIO()
    first, second = Image.new("RGB", (9, 9), "red"), Image.new("RGB", (9, 9), "blue")
    first.save(buffer, "GIF", save_all=True, append_images=[second])
    assert np.allclose(decode(buffer.getvalue()), [255, 0, 0])


@pytest.mark.parametrize(("size", "wanted"), [(97, 40), (40, 97), (12, 12), (1, 5)])
def test_resizing_weighs_the_two_nearest_pixels_and_keeps_the_edges(size: int, wanted: int) -> None:
    ramp = np.arange(size, dtype=np.uint8)
    places = ((np.arange(wanted) + 0.5) * size / wanted - 0.5).clip(0, size - 1)
    across = np.broadcast_to(ramp[None, :, None], (9, size, 3))
    down = np.broadcast_to(ramp[:, None, None], (size, 9, 3))
    assert np.allclose(images.resize(across, 4, wanted), places[None, :, None], atol=1e-4)
    assert np.allclose(images.resize(down, wanted, 4), places[:, None, None], atol=1e-4)


def test_an_empty_body_is_refused() -> None:
    assert refusal(b"").code == "empty-input"


@pytest.mark.parametrize("payload", [b"hello", b"\xff\xd8\xffrubbish", b"\x89PNG\r\n\x1a\nrubbish", b"%PDF-1.7"])
def test_what_is_no_photo_is_refused_with_what_is_accepted(payload: bytes) -> None:
    problem = refusal(payload)
    assert (problem.status, problem.code) == (400, "not-an-image")
    assert "JPEG, PNG, WebP" in problem.detail


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_truncated_photo_is_refused_with_what_is_accepted(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind)
    problem = refusal(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    assert (problem.status, problem.code) == (400, "truncated-image")
    assert "JPEG, PNG, WebP" in problem.detail


def test_stray_bytes_inside_a_jpeg_do_no_harm() -> None:
    payload = photo("red")
    marker = payload.index(b"\xff\xda")
    assert np.allclose(decode(payload[:marker] + b"\x00\x00\x00" + payload[marker:]), [255, 0, 0], atol=4)


def test_a_photo_over_the_pixel_limit_is_refused() -> None:
    problem = refusal(photo(size=(100, 101)), limit=10_000)
    assert (problem.status, problem.code) == (413, "too-many-pixels")
    assert "100 x 101" in problem.detail
    assert problem.extra == {"max_pixels": 10_000}


def test_a_bomb_is_refused_by_its_header_alone() -> None:
    # A PNG of 20,000 x 10,000 whose pixel data are missing: only its header can have been read.
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 10_000, 8, 2, 0, 0, 0))
    assert refusal(b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", b"")).code == "too-many-pixels"


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
