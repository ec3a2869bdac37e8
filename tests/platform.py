"""A whole platform for tests: `canari up` on a data folder of its own, with a copy of the small `drift` family."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg2
from typer.testing import CliRunner

from canari.cli import app
from canari.errors import CanariError

ROOT = Path(__file__).resolve().parent.parent
POINT = {"x1": 0.4, "x2": -0.2}


class Platform:
    """A data folder with a platform on it, with a copy of the family `drift`; `jobs` start by themselves, or none."""

    def __init__(self, folder: Path, *, jobs: bool = False) -> None:
        self.data = folder / "data"
        self.families = folder / "models"
        write_points(folder / "points")
        shutil.copytree(ROOT / "bentos" / "drift", self.families / "drift")
        (self.families / "__init__.py").touch()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.environment = {"CANARI_FAMILIES_DIR": str(self.families), "COLUMNS": "200"}
        self.log = folder / "up.log"
        self._flags = [] if jobs else ["--no-jobs"]
        self.up: subprocess.Popen[bytes] | None = None
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.up = subprocess.Popen(
                [
                    *(sys.executable, "-m", "canari.cli", "up", *self._flags),
                    *("--data-dir", str(self.data), "--port", str(self.port)),
                ],
                cwd=ROOT,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.wait()

    def wait(self) -> None:
        until(lambda: self.status().get("waiting_for") == [], 180, lambda: self.log.read_text()[-3000:])

    def stop(self) -> None:
        assert self.up is not None
        self.up.send_signal(signal.SIGINT)
        assert self.up.wait(60) == 0

    def left(self) -> list[str]:
        """Processes of this platform that live."""
        lines = (" ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"]))
        return [line for line in lines if str(self.data.parent) in line]

    def status(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self.data / "status.json").read_text()))
        except (OSError, ValueError):
            return {}

    def pid(self, name: str) -> int | None:
        return next((p["pid"] for p in self.status().get("processes", []) if p["name"] == name), None)

    def canari(self, *arguments: str) -> Any:
        done = CliRunner(env=self.environment).invoke(app, [*arguments, "--data-dir", str(self.data), "--json"])
        if isinstance(done.exception, CanariError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    def train(self) -> int:
        """Another version, from the samples that the first one learned from."""
        arguments = [
            "train",
            "drift",
            "--data",
            str(self.data.parent / "points"),
            "--data-dir",
            str(self.data),
            "--json",
        ]
        done = subprocess.run(
            [sys.executable, "-m", "canari.cli", *arguments],
            cwd=ROOT,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return int(json.loads(done.stdout.strip().splitlines()[-1])["version"])

    def predict(self, **headers: str) -> httpx.Response:
        return self.client.post(
            "/api/drift/predict", json=POINT, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg2.connect(self.status()["databases"]["app"]) as connection, connection.cursor() as cursor:
            cursor.execute(query, values or None)
            return cursor.fetchall()


def until(condition: Callable[[], bool], seconds: float, told: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, told()
        time.sleep(0.05)


def write_points(folder: Path) -> None:
    """Points on both sides of a line, a folder per label."""
    for label, side in (("below", -1), ("above", 1)):
        (folder / label).mkdir(parents=True)
        for n in range(60):
            x1 = (n - 30) / 15
            row = {"x1": x1, "x2": x1 + side * (0.2 + n % 7 / 7)}
            (folder / label / f"{n}.json").write_text(json.dumps(row))
