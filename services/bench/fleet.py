"""The servers under test: each in processes of its own, all with the same model, all ended together."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

from canari.errors import CanariError
from canari.family import Family
from canari.settings import Settings
from services.bench.load import Server, Turn, form_request, raw_request

_START_SECONDS = 300.0
_STOP_SECONDS = 90.0
_ROOT = Path(__file__).resolve().parents[2]
_TRAINING = ("--generate", "60", "--epochs", "1", "--option", "width=1")


class Driver(Protocol):
    """Something that can be given a turn."""

    def run(self, seconds: float, concurrency: int) -> Turn:
        """Work for `seconds`, and tell what was done."""


@dataclass
class Fleet:
    """Starts servers; leaving it ends them. `folder` holds their logs and everything they keep."""

    family: Family
    photos: Sequence[bytes]
    folder: Path
    say: Callable[[str], None]
    _ending: ExitStack = field(default_factory=ExitStack)
    _platform: Settings | None = None
    _naive_port: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    def start(self, name: str) -> Driver:
        """Have the server called `name` answering; raises CanariError with the end of its log where it does not."""
        self.say(f"starting {name}")
        starts: dict[str, Callable[[], Driver]] = {
            "naive": lambda: self._naive("/predict"),
            "threads": lambda: self._naive("/predict-in-threads"),
            "bentoml": self._bentoml,
            "canari": self._canari,
            "limit": self._limit,
            "recorded": self._recorded,
            "unrecorded": self._unrecorded,
        }
        return starts[name]()

    def _naive(self, path: str) -> Server:
        requests = [form_request(path, "file", photo) for photo in self.photos]
        if self._naive_port is None:
            port = _free_port()
            process = self._run("naive", [sys.executable, "-m", "services.bench.naive", str(self._keras()), str(port)])
            self._answering("naive", process, port, requests)
            self._naive_port = port
        return Server(self._naive_port, requests)

    def _bentoml(self) -> Server:
        port = _free_port()
        command = [sys.executable, "-m", "bentoml", "serve", "services.bench.typed:Photos"]
        command += ["--arg", f"model={self._keras()}", "--host", "127.0.0.1", "--port", str(port)]
        process = self._run("bentoml", command)
        return self._answering("bentoml", process, port, [form_request("/predict", "photo", p) for p in self.photos])

    def _canari(self) -> Server:
        port = self._running().port
        return Server(port, self._bodies())

    def _recorded(self) -> Server:
        return Server(self._running().layout.version_socket(self.family.name, 1), self._bodies())

    def _unrecorded(self) -> Server:
        bento, address = self._bento(), self.folder / "unrecorded.sock"
        command = [sys.executable, "-m", "canari.runtime.serve", str(bento), "--uds", str(address)]
        process = self._run("unrecorded", command, cwd=bento / "src")
        return self._answering("unrecorded", process, address, self._bodies())

    def _limit(self) -> Limit:
        files = []
        for place, photo in enumerate(self.photos):
            files.append(self.folder / f"photo-{place}.jpg")
            files[-1].write_bytes(photo)
        artifact = self._bento() / "src" / "artifact"
        command = [sys.executable, "-m", "services.bench.limit", str(artifact / "model.onnx")]
        process = self._run("limit", [*command, str(artifact / "spec.json"), *map(str, files)], talks=True)
        return Limit(process, self.folder / "limit.log")

    def _bodies(self) -> list[bytes]:
        return [raw_request(f"/api/{self.family.name}/predict", photo) for photo in self.photos]

    def _bento(self) -> Path:
        for spec in sorted(self._running().layout.bentos.glob("*/src/artifact/spec.json")):
            if json.loads(spec.read_text())["name"] == self.family.name:
                return spec.parents[2]
        raise CanariError(f"the platform serves no version of {self.family.name}: see {self.folder}/canari.log")

    def _keras(self) -> Path:
        """The same model before it was exported, as lineage keeps it."""
        kept = sorted(self._running().layout.mlflow.rglob("model.keras"))
        if not kept:
            end = self._end_of_log("training")
            raise CanariError(f"lineage kept no Keras model of {self.family.name}; the end of its training:\n{end}")
        return kept[0]

    def _running(self) -> Settings:
        """A platform of the bench's own, that serves one version of the tutorial's network at its full width."""
        if self._platform is None:
            settings = Settings(data_dir=self.folder / "data", port=_free_port())
            shared = {"CANARI_DATA_DIR": str(settings.data_dir), "CANARI_FAMILIES_DIR": str(self._family_copy())}
            command = [sys.executable, "-m", "services.controller", "--no-demo"]
            controller = self._run("canari", command, {**shared, "CANARI_PORT": str(settings.port)})
            self._wait("canari", controller, lambda: self._serves(settings, version=False))
            self._train(settings, shared)
            self._wait("canari", controller, lambda: self._serves(settings, version=True))
            self._platform = settings
        return self._platform

    def _family_copy(self) -> Path:
        """The family, with a threshold that lets a barely trained version serve: only its speed matters here."""
        spec = self.family.spec
        lenient = spec.model_copy(update={"evaluation": spec.evaluation.model_copy(update={"threshold": 0.0})})
        families = self.folder / "bench_families"
        shutil.copytree(self.family.folder, families / self.family.name)
        (families / self.family.name / "model.yaml").write_text(json.dumps(lenient.document()))
        return families

    def _train(self, settings: Settings, shared: Mapping[str, str]) -> None:
        self.say(f"training {self.family.name}, for its shape alone")
        databases = json.loads((settings.data_dir / "status.json").read_text())["databases"]
        urls = {"CANARI_DATABASE_URL": databases["app"], "CANARI_LINEAGE_URL": databases["lineage"]}
        command = [sys.executable, "-m", "services.jobs", "train", self.family.name, *_TRAINING]
        training = self._run("training", command, {**shared, **urls})
        self._wait("training", training, lambda: training.poll() == 0)

    @staticmethod
    def _serves(settings: Settings, *, version: bool) -> bool:
        try:
            status = json.loads((settings.data_dir / "status.json").read_text())
        except FileNotFoundError:
            return False
        serving = [model["in_force"] and model["weights"] == {"1": 100} for model in status["models"]]
        return not status["waiting_for"] and (not version or serving == [True])

    def _answering(
        self, name: str, process: subprocess.Popen[str], address: Path | int, requests: Sequence[bytes]
    ) -> Server:
        server = Server(address, requests)

        def answers() -> bool:
            try:
                server.try_each()
            except OSError:
                return False
            return True

        self._wait(name, process, answers)
        return server

    def _wait(self, name: str, process: subprocess.Popen[str], ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                end = self._end_of_log(name)
                raise CanariError(f"the server {name} does not answer; the end of its log:\n{end}")
            time.sleep(0.3)

    def _end_of_log(self, name: str) -> str:
        """The folder is gone when people read of an error."""
        return "\n".join((self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-10:])

    def _run(
        self,
        name: str,
        command: Sequence[str],
        variables: Mapping[str, str] | None = None,
        *,
        cwd: Path = _ROOT,
        talks: bool = False,
    ) -> subprocess.Popen[str]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("CANARI_")}
        with (self.folder / f"{name}.log").open("a") as log:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env={**inherited, "TF_CPP_MIN_LOG_LEVEL": "3", **(variables or {})},
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self._ending.callback(_end, process)
        return process


class Limit:
    """The process that holds the engine alone, told by lines."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process, self._log = process, log
        self._line()

    def run(self, seconds: float, concurrency: int) -> Turn:  # noqa: ARG002 - it has a thread per CPU, which is best
        """Work for `seconds`."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        return Turn(**json.loads(self._line()))

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise CanariError(f"the engine alone does not work:\n{self._log.read_text(errors='replace')[-1000:]}")
        return line


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
