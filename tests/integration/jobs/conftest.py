"""A family of the tests' own, a copy of `drift` under another name, and what trains it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine

from canari.archives import FolderArchives
from canari.family import Family, find_family
from canari.registry import Registry
from canari.settings import Layout
from services.jobs.making import Order
from services.jobs.train import Outcome, train_version
from tests.conftest import ROOT, Database


@dataclass
class Workshop:
    """A data folder, a database and the family `line`."""

    layout: Layout
    engine: Engine
    app_url: str
    families: Path
    lineage_url: str
    stages: list[str] = field(default_factory=list)

    @property
    def family(self) -> Family:
        return find_family(self.families, "line")

    def rewrite(self, file: str, old: str, new: str) -> None:
        path = self.families / "line" / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def train(self, order: Order) -> Outcome:
        registry = Registry(self.lineage_url, self.layout.mlflow)
        kept = FolderArchives(self.layout.archives)
        return train_version(self.engine, self.layout, kept, self.family, order, registry, self.report)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`python -m services.jobs`, in a process of its own."""
        environment = {
            **os.environ,
            "CANARI_DATA_DIR": str(self.layout.root),
            "CANARI_FAMILIES_DIR": str(self.families),
            "CANARI_DATABASE_URL": self.app_url,
            "CANARI_LINEAGE_URL": self.lineage_url,
        }
        command = [sys.executable, "-m", "services.jobs", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    def report(self, stage: str, done: int, total: int, _figures: Mapping[str, float]) -> None:
        assert 0 <= done <= total
        if stage not in self.stages:
            self.stages.append(stage)


def workshop_in(folder: Path, database: Database) -> Workshop:
    """Trains `line` in a data folder of its own; MLflow cannot be reached."""
    families = folder / f"families_{uuid4().hex}"
    shutil.copytree(ROOT / "bentos" / "drift", families / "line", ignore=shutil.ignore_patterns("__pycache__"))
    (families / "__init__.py").touch()
    layout = Layout(folder / "data")
    layout.create()
    away = f"postgresql://nobody@/none?host={folder}"
    made = Workshop(layout, database.engine, database.app_url, families, away)
    made.rewrite("model.yaml", "name: drift", "name: line")
    return made


@pytest.fixture
def workshop(tmp_path: Path, swept_database: Database) -> Workshop:
    """Trains `line` in a data folder of the test's own; MLflow cannot be reached."""
    return workshop_in(tmp_path, swept_database)
