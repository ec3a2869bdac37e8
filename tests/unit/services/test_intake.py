import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canari.errors import Problem
from services.feedback.intake import parse, unpack


@given(st.binary(max_size=200))
def test_whatever_comes_in_each_line_is_a_row_or_refused_by_its_number(body: bytes) -> None:
    rows, refused = parse(body)
    numbers = [number for number, line in enumerate(body.split(b"\n"), 1) if line.strip()]
    assert sorted([number for number, _ in rows] + [number for number, _ in refused]) == numbers
    assert all(why for _, why in refused)


@given(st.binary(max_size=200))
def test_what_is_said_to_be_gzip_is_unpacked_or_refused(content: bytes) -> None:
    assert unpack(gzip.compress(content), "gzip") == content
    with pytest.raises(Problem, match="not gzip"):
        unpack(content, "gzip")


def test_an_unknown_encoding_is_refused_with_the_one_that_is_known() -> None:
    assert unpack(b"plain", "") == unpack(b"plain", "identity") == b"plain"
    with pytest.raises(Problem, match="may be gzip, not br"):
        unpack(b"", "br")
