"""The controller as a process, with the feedback API beside it, and versions in pods that really answer."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import yaml
from sqlalchemy import text

from canari.keys import ensure_signing_key
from canari.launch.postgres import OWNER, EmbeddedPostgres
from canari.spec_file import load_spec
from canari.store.engine import connect
from tests.cluster.release import packed
from tests.cluster.tools import Kubectl, until
from tests.cluster.world import KINDS, OWNED, World
from tests.conftest import ROOT, GivenPostgres, fresh_database

DRIFT = load_spec(ROOT / "bentos" / "drift")
IMAGE = os.environ.get("CANARI_TEST_REGISTRY", "localhost") + "/canari/runtime:0.2.0"


@dataclass
class Outside:
    """What runs on this machine: processes of the platform, told where all is."""

    folder: Path
    database_url: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "CANARI_DATABASE_URL": self.database_url,
            "CANARI_DATA_DIR": str(self.folder),
            "CANARI_CLUSTER_CONFIG": str(self.folder / "cluster.yaml"),
        }

    def start(self, module: str, *arguments: str) -> tuple[subprocess.Popen[bytes], httpx.Client, Path]:
        """Start a process with a port; returns it, a client of it and its log."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        log = self.folder / f"{port}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", module, "--port", str(port), *arguments],
                cwd=ROOT,
                env=self.environment,
                stdout=output,
                stderr=output,
            )
        self.processes.append(process)
        return process, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=5), log

    def once(self, *arguments: str) -> tuple[int, str]:
        """The exit status and the words of one round."""
        done = subprocess.run(
            [sys.executable, "-m", "services.controller.cluster", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        self.processes.clear()


def status(client: httpx.Client, path: str) -> int:
    with contextlib.suppress(httpx.HTTPError):
        return client.get(path).status_code
    return 0


def leads(client: httpx.Client) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return "canari_controller_leader 1.0" in client.get("/metrics").text
    return False


@pytest.fixture(scope="module")
def world(
    namespace: Kubectl, postgres: EmbeddedPostgres | GivenPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[World, Outside]]:
    folder = tmp_path_factory.mktemp("platform")
    (folder / "keys").mkdir()
    with fresh_database(postgres) as database:
        made = World.make(namespace, database, image=IMAGE)
        made.key = ensure_signing_key(folder / "keys")
        config = made.config.model_dump(mode="json", by_alias=True)
        (folder / "cluster.yaml").write_text(yaml.safe_dump({**config, "pollSeconds": 0.5}))
        outside = Outside(folder, database.app_url)
        yield made, outside
        outside.stop()


@pytest.fixture
def outside(world: tuple[World, Outside]) -> Iterator[Outside]:
    yield world[1]
    world[1].stop()


def test_a_version_is_fetched_started_and_told_ready(world: tuple[World, Outside], outside: Outside) -> None:
    here, _ = world
    package = packed("drift", outside.folder / "packages", seed=1)
    archive = json.loads((package / "package.json").read_text())["archive"]
    [built] = package.glob("*.tar.gz")
    (outside.folder / "archives").mkdir()
    built.rename(outside.folder / "archives" / f"{archive}.tar.gz")
    _, feedback, said = outside.start("services.feedback", "--host", "0.0.0.0")
    until(lambda: status(feedback, "/api/health") == 200, "the feedback API", seconds=60)
    here.point_feedback_at(feedback.base_url.port or 0)
    here.apply(DRIFT)
    here.version(DRIFT, archive)
    _, controller, log = outside.start("services.controller.cluster")
    try:
        until(lambda: "True" in here.condition("drift", "TrafficSplit"), "the split", seconds=120)
    finally:
        sys.stdout.write(log.read_text() + said.read_text() + here.kubectl("get", "pods,events.events.k8s.io"))
    assert here.condition("drift", "VersionsReady") == ("True", "Ready", "answering: version 1")
    assert status(controller, "/readyz") == 200
    point = {"x1": 0.5, "x2": -0.5}
    answer = here.kubectl(
        *("create", "--raw", f"/api/v1/namespaces/{here.namespace}/services/drift-v1:80/proxy/api/drift/predict"),
        "--filename=-",
        given=json.dumps(point),
    )
    assert json.loads(answer)["version"] == 1
    assert "drift" in here.kubectl("get", "models")

    here.kubectl("delete", "secret", "drift-v1")
    here.kubectl("delete", "pod", "--selector=canari.dev/model=drift")
    until(lambda: here.condition("drift", "VersionsReady")[1] == "Ready", "the Secret made anew", seconds=120)


def test_of_two_controllers_one_acts_and_the_other_follows(world: tuple[World, Outside], outside: Outside) -> None:
    here, _ = world
    first, first_says, _ = outside.start("services.controller.cluster")
    until(lambda: leads(first_says), "the first acts", seconds=40)
    second, second_says, _ = outside.start("services.controller.cluster")
    until(lambda: status(second_says, "/readyz") == 200, "the second waits, ready", seconds=40)
    assert not leads(second_says)

    code, said = outside.once("--once")
    assert code == 1
    assert "acts: it holds the lease" in said

    first.send_signal(signal.SIGTERM)
    assert first.wait(20) == 0
    began = time.monotonic()
    until(lambda: leads(second_says), "the second follows at once", seconds=10)
    assert time.monotonic() - began < 5

    second.kill()
    third, third_says, _ = outside.start("services.controller.cluster")
    assert not leads(third_says)
    until(lambda: leads(third_says), "the third follows when the lease has run out", seconds=40)
    third.send_signal(signal.SIGTERM)
    assert third.wait(20) == 0
    assert here.object("lease", "canari-controller")["spec"]["holderIdentity"] == ""
    assert outside.once("--once")[0] == 0


def test_a_dry_run_tells_all_changes_and_makes_none(world: tuple[World, Outside], outside: Outside) -> None:
    here, _ = world
    spec = DRIFT.model_copy(update={"name": "rehearsed"})
    here.apply(spec)
    assert outside.once("--once")[0] == 0
    here.version(spec)

    def kept() -> object:
        with here.database.engine.connect() as connection:
            tables = ("models", "rollouts", "decisions")
            rows = [connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() for table in tables]
        kinds = f"{KINDS},models,events.events.k8s.io"
        return rows, {(o["kind"], o["metadata"]["name"], o["metadata"]["resourceVersion"]) for o in here.all(kinds)}

    before = kept()
    code, said = outside.once("--dry-run")
    assert code == 0, said
    for line in ("would apply Service rehearsed-v1", "would apply Deployment rehearsed-v1", "would create Event"):
        assert line in said
    assert kept() == before


def test_a_database_that_is_away_is_waited_for(
    world: tuple[World, Outside], outside: Outside, postgres: EmbeddedPostgres | GivenPostgres
) -> None:
    here, _ = world
    _, says, log = outside.start("services.controller.cluster")
    until(lambda: status(says, "/readyz") == 200, "ready", seconds=40)
    name = here.database.engine.url.database
    admin = connect(postgres.url(OWNER), pool=1)
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as owner:
        owner.execute(text(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'))
        owner.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"), {"name": name}
        )
        until(lambda: status(says, "/readyz") == 503, "not ready")
        time.sleep(2)
        assert status(says, "/healthz") == 200
        owner.execute(text(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'))
    admin.dispose()
    until(lambda: status(says, "/readyz") == 200, "ready again")
    assert log.read_text().count("trying again") == 1
    assert log.read_text().count("answer again") == 1
    assert not here.kubectl.items("deployments", OWNED, "--selector=canari.dev/model=nobody")
