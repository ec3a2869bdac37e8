"""The chart, installed as a user installs it, and the platform it makes, asked as clients ask it."""

from __future__ import annotations

import base64
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

import httpx

from tests.cluster.tools import Kubectl, command, until
from tests.conftest import ROOT

CHART = ROOT / "helm" / "canari"
VALUES = ROOT / "tests" / "cluster" / "values.yaml"
_OWNER = "gateway.envoyproxy.io/owning-gateway"
# The namespace in which Envoy Gateway keeps its proxies.
PROXIES = os.environ.get("CANARI_TEST_PROXY_NAMESPACE", "envoy-gateway-system")


@dataclass
class Release:
    """One release of the chart."""

    kubectl: Kubectl
    name: str = "canari"
    _token: str | None = None

    @property
    def namespace(self) -> str:
        assert self.kubectl.namespace
        return self.kubectl.namespace

    def helm(self, *arguments: str, seconds: float = 1200) -> str:
        """`helm`, in the release's namespace."""
        return command("helm", "--namespace", self.namespace, *arguments, seconds=seconds)

    def install(self, *options: str) -> float:
        """`helm install --wait`; returns the seconds it took."""
        began = time.monotonic()
        self.helm("install", self.name, str(CHART), "--values", str(VALUES), "--wait", "--timeout", "15m", *options)
        return time.monotonic() - began

    def upgrade(self, *options: str) -> None:
        """`helm upgrade --wait` to the chart as it is now, with other values."""
        self.helm("upgrade", self.name, str(CHART), "--values", str(VALUES), "--wait", "--timeout", "15m", *options)

    def uninstall(self) -> None:
        """`helm uninstall --wait`."""
        self.helm("uninstall", self.name, "--wait", "--timeout", "10m")

    def url(self) -> str:
        """The gateway's address from outside of the cluster: a node's, and the node port of Envoy's Service."""
        owner = f"--selector={_OWNER}-name={self.name},{_OWNER}-namespace={self.namespace}"
        [service] = until(lambda: self.kubectl.within(PROXIES).items("services", owner), "the gateway's Service")
        port = next(p["nodePort"] for p in service["spec"]["ports"] if p["port"] == 80)
        addresses = self.kubectl.items("nodes")[0]["status"]["addresses"]
        host = next(a["address"] for a in addresses if a["type"] == "InternalIP")
        return f"http://{host}:{port}"

    def proxies(self) -> list[str]:
        """The names of the pods that are this gateway's proxies."""
        owner = f"--selector={_OWNER}-name={self.name},{_OWNER}-namespace={self.namespace}"
        return [pod["metadata"]["name"] for pod in self.kubectl.within(PROXIES).items("pods", owner)]

    def canari(self, *arguments: str) -> Any:
        """What `canari ... --json` prints, as the account `admin`, whose password the chart drew."""
        url = self.url()
        if self._token is None:
            secret = self.kubectl.json("get", "secret", f"{self.name}-secrets")["data"]["admin-password"]
            password = base64.b64decode(secret).decode()
            said = _canari("login", "--name", "admin", CANARI_URL=url, given=f"{password}\n")
            self._token = str(said["token"])
        return _canari(*arguments, CANARI_URL=url, CANARI_API_TOKEN=self._token)

    def model(self, name: str) -> dict[str, Any]:
        """A Model resource's status."""
        return dict(self.kubectl.json("get", "model", name.replace("_", "-")).get("status", {}))


@dataclass
class Client(Thread):
    """A client that asks every `1/rate` seconds, one request at a time, `most` times or until told to stop."""

    url: str
    path: str
    body: bytes
    media_type: str
    rate: float
    most: int | None = None
    answers: Counter[tuple[int, str]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self._told_to_stop = Event()
        self._asking = Lock()

    __hash__ = Thread.__hash__

    def run(self) -> None:
        """Ask, and count the answers by status and version."""
        due = time.monotonic()
        with httpx.Client(base_url=self.url, timeout=60) as client:
            for _ in range(self.most) if self.most else count():
                if self._told_to_stop.wait(max(0.0, due - time.monotonic())):
                    return
                with self._asking:
                    self._ask(client)
                due += 1 / self.rate

    def stop(self) -> None:
        """Let the last request end."""
        self._told_to_stop.set()
        self.join(timeout=90)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """A while in which no request is on its way."""
        with self._asking:
            yield

    def _ask(self, client: httpx.Client) -> None:
        try:
            answer = client.post(self.path, content=self.body, headers={"content-type": self.media_type})
        except httpx.HTTPError as error:
            self.faults.append(f"{time.strftime('%H:%M:%S')} {error!r}")
            return
        version = str(answer.json().get("version", "")) if answer.is_success else ""
        self.answers[answer.status_code, version] += 1
        if answer.is_error:
            self.faults.append(f"{time.strftime('%H:%M:%S')} {answer.status_code} {answer.text[:200]}")


def asked(release: Release, model: str, body: bytes, media_type: str = "application/json") -> httpx.Response:
    """One prediction, through the gateway."""
    path = f"{release.url()}/api/{model}/predict"
    return httpx.post(path, content=body, headers={"content-type": media_type}, timeout=60)


def packed(model: str, folder: Path, *, seed: int, families: Path = ROOT / "bentos") -> Path:
    """A version of `model`, trained here on samples drawn with `seed`, as it is sent to a platform."""
    command(
        *(sys.executable, "-m", "services.jobs", "pack", model, "--demo", "--seed", str(seed), "--to", str(folder)),
        seconds=600,
        environment={"CANARI_FAMILIES_DIR": str(families)},
    )
    return folder / model


def pushed(release: Release, package: Path) -> int:
    """Send a packed version to the platform; returns the number it got there."""
    return int(release.canari("push", package.name, "--package", str(package))["version"])


def _canari(*arguments: str, given: str | None = None, **environment: str) -> Any:
    said = command(*(sys.executable, "-m", "canari.cli", *arguments, "--json"), given=given, environment=environment)
    return json.loads(said[said.index("{") :])
