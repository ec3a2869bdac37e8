from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.runtime.kit import FeedbackServer


@pytest.fixture
def feedback() -> Iterator[FeedbackServer]:
    with (
        tempfile.TemporaryDirectory(prefix="canari-") as folder,
        FeedbackServer(Path(folder, "f.sock")).running() as it,
    ):
        yield it
