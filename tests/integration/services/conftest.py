"""The real feedback API on a real database, and people to use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from canari.archives import FolderArchives
from canari.settings import Layout
from canari.spec import ModelSpec
from canari.spec_file import load_spec
from canari.store import rollouts, versions
from canari.tokens import Identity, Scope, issue, new_key
from services.feedback.app import create_app
from services.feedback.context import Context
from tests.conftest import ROOT, Database

Token = Callable[..., dict[str, str]]


@dataclass(frozen=True)
class Api:
    """The API and what lies behind it."""

    client: TestClient
    context: Context
    database: Database

    def token(
        self, *scopes: Scope, subject: str = "someone", models: tuple[str, ...] = ("*",), version: int | None = None
    ) -> dict[str, str]:
        """The header of a fresh token."""
        return {"Authorization": f"Bearer {self.issue(*scopes, subject=subject, models=models, version=version)[0]}"}

    def issue(
        self, *scopes: Scope, subject: str = "someone", models: tuple[str, ...] = ("*",), version: int | None = None
    ) -> tuple[str, Identity]:
        """A fresh token and what it says."""
        lifetime = timedelta(hours=1)
        return issue(
            self.context.key, subject=subject, scopes=scopes, models=models, version=version, lifetime=lifetime
        )

    def bento(self, model: str = "cats_dogs", version: int = 1) -> dict[str, str]:
        """The header of a bento's own token."""
        return self.token(Scope.RECORD, subject=f"bento:{model}:{version}", models=(model,), version=version)

    def another(self) -> TestClient:
        """Another person's browser."""
        return TestClient(self.client.app)


@pytest.fixture
def cats_dogs() -> ModelSpec:
    return load_spec(ROOT / "bentos" / "cats_dogs")


@pytest.fixture
def api(swept_database: Database, cats_dogs: ModelSpec, tmp_path: Path) -> Iterator[Api]:
    """cats_dogs, open to anyone, with a version 1 that takes all; drift, closed to visitors, without a version."""
    database = swept_database
    number = versions.allot(database.engine, cats_dogs, manifest_digest="m", synthetic=True)
    versions.mark_ready(database.engine, "cats_dogs", number, archive="a" * 64, metrics={})
    rollouts.deploy(database.engine, "cats_dogs", number, weight=100, actor="a test")
    drift = load_spec(ROOT / "bentos" / "drift")
    closed = drift.model_copy(update={"access": drift.access.model_copy(update={"anonymous": False})})
    versions.put_spec(database.engine, closed)
    archives = tmp_path / "archives"
    archives.mkdir()
    context = Context(database.engine, new_key(), FolderArchives(archives), Layout(tmp_path))
    with TestClient(create_app(context)) as client:
        yield Api(client, context, database)
