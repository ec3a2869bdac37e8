from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.runtime.bento import build
from tests.unit.runtime.kit import FeedbackServer


@pytest.fixture(scope="session")
def bento(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("bentoml"), tmp_path_factory.mktemp("stage"))


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="canari-") as folder:
        yield Path(folder)


@pytest.fixture
def feedback(short: Path) -> Iterator[FeedbackServer]:
    with FeedbackServer(short / "f.sock").running() as server:
        yield server
