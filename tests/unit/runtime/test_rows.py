from __future__ import annotations

import numpy as np
import pytest

from canari.errors import Problem
from canari.runtime.rows import decode

FEATURES = ("x1", "x2")


def test_a_row_is_read_in_the_models_order() -> None:
    row = decode(b'{"x2": 2, "x1": 1.5}', FEATURES)
    assert row.tolist() == [1.5, 2.0]
    assert row.dtype == np.float32


def test_a_wrapped_row_is_read() -> None:
    assert decode(b'{"row": {"x1": 1, "x2": 2}}', FEATURES).tolist() == [1, 2]


def test_a_feature_called_row_is_no_wrapping() -> None:
    assert decode(b'{"row": 4}', ("row",)).tolist() == [4]


@pytest.mark.parametrize(
    ("payload", "code", "says"),
    [
        (b"  ", "empty-input", "no row"),
        (b"{", "invalid-json", "not JSON"),
        (b"\xff\xfe", "invalid-json", "not JSON"),
        (b"[" * 100_000, "invalid-json", "not JSON"),
        (b"[1, 2]", "invalid-row", "JSON object"),
        (b'{"row": 3}', "invalid-row", "JSON object"),
        (b'{"x1": 1}', "invalid-row", "lacks ['x2']"),
        (b'{"x1": 1, "x2": 2, "x3": 3}', "invalid-row", "unknown ['x3']"),
        (b'{"x1": 1, "x2": "2"}', "invalid-row", "'x2' must be a finite number"),
        (b'{"x1": 1, "x2": true}', "invalid-row", "finite"),
        (b'{"x1": 1, "x2": null}', "invalid-row", "finite"),
        (b'{"x1": 1, "x2": NaN}', "invalid-row", "finite"),
        (b'{"x1": 1, "x2": Infinity}', "invalid-row", "finite"),
        (b'{"x1": 1, "x2": 1e39}', "invalid-row", "finite"),
        (b'{"x1": 1, "x2": 1' + b"0" * 400 + b"}", "invalid-row", "finite"),
    ],
)
def test_a_wrong_row_is_refused_with_what_a_row_looks_like(payload: bytes, code: str, says: str) -> None:
    with pytest.raises(Problem) as caught:
        decode(payload, FEATURES)
    assert (caught.value.status, caught.value.code) == (400, code)
    assert says in caught.value.detail
