"""Rollouts on one machine: what the judge does with a good version and with four bad ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from canari.settings import Layout
from services.controller.accounts import FILE
from tests.acceptance.rollouts import Rollouts, Stage, staged, write_families
from tests.platform import Platform

pytestmark = pytest.mark.timeout(1800)


class Laptop(Platform):
    """`canari up` with the families of `write_families`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        shutil.rmtree(self.families)
        write_families(self.families)

    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def account(self) -> tuple[str, str]:
        return "operator", json.loads((Layout(self.data).keys / FILE).read_text())["operator"]

    @contextmanager
    def metrics_away(self) -> Iterator[None]:
        """Envoy's admin socket cannot be found."""
        socket = Layout(self.data).socket("envoy-admin")
        hidden = socket.with_suffix(".hidden")
        socket.rename(hidden)
        try:
            yield
        finally:
            hidden.rename(socket)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    folder = tmp_path_factory.mktemp("rollouts")
    for parent in (folder, folder.parent):
        parent.chmod(0o711)
    made = Laptop(folder)
    try:
        made.start()
        yield made
    finally:
        made.stop()
    assert made.left() == []


@pytest.fixture(scope="module")
def stage(world: Laptop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(world, tmp_path_factory.mktemp("packages")) as made:
        yield made


class TestRolloutsOnALaptop(Rollouts):
    """All of them, here."""
