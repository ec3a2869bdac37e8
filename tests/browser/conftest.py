"""A real browser before the real portal and feedback API; only the models' answers are made up."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser, Page, sync_playwright
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from canari.archives import FolderArchives
from canari.errors import PROBLEM_JSON, Problem
from canari.ids import new_id
from canari.settings import Layout
from canari.spec_file import load_spec
from canari.store import predictions, rollouts, versions
from canari.tokens import SESSION_COOKIE, Verifier, new_key, public_pem
from canari.types import Prediction, RequestKind
from services.feedback.app import create_app as create_feedback
from services.feedback.context import Context
from services.portal.app import create_app as create_portal
from tests.conftest import ROOT, Database

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass
class Models:
    """What the models answer: `scores` and `answer`, after first refusing with each of `refusals`."""

    context: Context
    scores: dict[str, dict[str, float]]
    answer: str | None = None
    refusals: list[Problem] = field(default_factory=list)
    asked: list[tuple[str, bytes]] = field(default_factory=list)
    consents: list[str | None] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a predict request as a bento does."""
        request = Request(scope, receive)
        self.asked.append((request.headers["content-type"], await request.body()))
        self.consents.append(request.headers.get("x-canari-consent"))
        if self.refusals:
            problem = self.refusals.pop(0)
            refused = JSONResponse(problem.body("r-1"), problem.status, problem.headers, PROBLEM_JSON)
            await refused(scope, receive, send)
            return
        await JSONResponse(self._predict(request, scope["path"].split("/")[2]))(scope, receive, send)

    def _predict(self, request: Request, model: str) -> dict[str, Any]:
        verifier = Verifier(public_pem(self.context.key))
        subject = verifier.verify(request.cookies[SESSION_COOKIE]).subject
        ranked = sorted(self.scores[model].items(), key=lambda pair: -pair[1])
        row = Prediction(
            id=new_id(),
            recorder=new_id(),
            seq=1,
            kind=RequestKind.ARM,
            rollout=0,
            step=0,
            subject=subject,
            status=200,
            request_id="r",
            input_bytes=1,
            latency_ms=12,
            label=ranked[0][0],
            score=ranked[0][1],
            scores=self.scores[model],
        )
        predictions.append(self.context.engine, model, 1, [row])
        return {
            "prediction_id": str(row.id),
            "model": model,
            "version": 1,
            "labels": [{"label": label, "score": score} for label, score in ranked],
            "answer": self.answer or ranked[0][0],
            "timing_ms": {"decode": 3.0, "inference": 24.0, "total": 28.4},
        }


@dataclass(frozen=True)
class Site:
    """The whole, at `url`."""

    url: str
    models: Models
    database: Database


@pytest.fixture
def site(swept_database: Database, tmp_path: Path) -> Iterator[Site]:
    """cats_dogs with a version that learned from drawings, drift with one from generated data."""
    for name in ("cats_dogs", "drift"):
        spec = load_spec(ROOT / "bentos" / name)
        number = versions.allot(swept_database.engine, spec, manifest_digest="m", synthetic=True)
        versions.mark_ready(swept_database.engine, name, number, archive="a" * 64, metrics={})
        rollouts.deploy(swept_database.engine, name, number, weight=100, actor="a test")
    yield from serve(swept_database, tmp_path)


@pytest.fixture
def empty_site(swept_database: Database, tmp_path: Path) -> Iterator[Site]:
    """A platform at its very first start: it knows no model yet."""
    yield from serve(swept_database, tmp_path)


def serve(database: Database, archives: Path) -> Iterator[Site]:
    """Run portal, feedback API and made-up models on a port of their own."""
    context = Context(database.engine, new_key(), FolderArchives(archives), Layout(archives))
    scores = {"cats_dogs": {"cat": 0.06, "dog": 0.94}, "drift": {"below": 0.2, "above": 0.8}}
    models = Models(context, scores)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(_gateway(create_feedback(context), create_portal(), models), log_config=None)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + 20
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield Site(f"http://127.0.0.1:{listener.getsockname()[1]}", models, database)
        server.should_exit = True
        thread.join(20)


def _gateway(feedback: FastAPI, portal: FastAPI, models: ASGIApp) -> ASGIApp:
    async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "/api/")
        asked = path.endswith(("/predict", "/predict-url"))
        app = models if asked else feedback if path.startswith("/api/") else portal
        await app(scope, receive, send)

    return gateway


# Playwright keeps an event loop in its thread meanwhile, in which other tests could run none of theirs.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The Chromium that `CANARI_CHROMIUM` names, else the one on PATH."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("CANARI_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    assert found, "no Chromium found: install one, or name it in CANARI_CHROMIUM"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A French visitor's page; an error in a script, or anything the page's own policy forbids, fails the test."""
    context = browser.new_context(locale="fr-FR", viewport={"width": 1100, "height": 800})
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if "Security Policy" in message.text else None)
    # Listening from the start: choosers are intercepted only some time after the first listener asks for it.
    page.on("filechooser", lambda _: None)
    page.set_default_timeout(15_000)
    yield page
    context.close()
    assert faults == []
