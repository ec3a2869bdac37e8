"""A version's bento also becomes an image of its own, by whichever builder this machine has, and answers from it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from canari.archive import unpack
from tests.conftest import ROOT

_START_SECONDS = 60


def builder() -> str:
    """The first of the builders that works here."""
    for engine in ("docker", "podman", "buildah"):
        try:
            if subprocess.run([engine, "info"], capture_output=True, check=False).returncode == 0:
                return engine
        except FileNotFoundError:
            continue
    pytest.fail("none of docker, podman and buildah works here: install one")


def call(*command: str, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A BentoML store that holds `drift:package`."""
    call(sys.executable, "-m", "services.jobs", "pack", "drift", "--demo", "--to", str(tmp_path))
    package = json.loads((tmp_path / "drift/package.json").read_text())
    archive = tmp_path / "drift" / f"{package['archive']}.tar.gz"
    unpack(package["archive"], archive, tmp_path / "home/bentos/drift/package")
    return tmp_path / "home"


@contextmanager
def running(engine: str, image: str, port: int) -> Iterator[None]:
    """The image's own entry point, serving on `port` of this machine."""
    if engine != "buildah":
        container = call(engine, "run", "--detach", "--publish", f"127.0.0.1:{port}:3000", image)
        try:
            yield
        finally:
            call(engine, "rm", "--force", container)
        return
    container = call("buildah", "from", image)
    # It runs what it builds with, on this machine's own network.
    serve = ["/home/bentoml/bento/env/docker/entrypoint.sh", "serve", "--port", str(port)]
    child = subprocess.Popen(
        ["buildah", "run", "--isolation", "chroot", container, "--", *serve],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        child.terminate()
        child.wait(30)
        call("buildah", "rm", container)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_a_bento_becomes_an_image_that_answers_without_a_platform(store: Path) -> None:
    engine, image, port = builder(), f"localhost/canari-test/drift:{uuid4().hex[:8]}", free_port()
    options = ["--backend", engine, "--image-tag", image]
    if engine == "buildah":
        options += ["--opt", "network=host"]
    command = [sys.executable, "-m", "bentoml", "containerize", "drift:package", *options]
    call(*command, BENTOML_HOME=str(store), BENTOML_DO_NOT_TRACK="True", BUILDAH_ISOLATION="chroot")
    try:
        with running(engine, image, port), httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            wait_until_ready(client)
            answer = client.post("/api/drift/predict", json={"x1": 0, "x2": 3})
            assert answer.status_code == 200, answer.text
            assert answer.json()["answer"] == "above"
    finally:
        call(engine, "rmi", "--force", image)


def wait_until_ready(client: httpx.Client) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    pytest.fail(f"the image does not answer within {_START_SECONDS} s")
