"""A cluster that holds objects in memory, and time that passes only when somebody sleeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from canari.kube import Kube
from canari.objects import Kind, Manifest


class FakeKube(Kube):
    """Objects by kind and name. `applied` is called with each that is applied, `deleted` with each that goes."""

    def __init__(self) -> None:
        self.namespace = "ours"
        self.objects: dict[tuple[Kind, str], Manifest] = {}
        self.acts: list[str] = []
        self.applied: Callable[[Manifest], object] = lambda _: None

    def put(self, kind: Kind, name: str, labels: Mapping[str, str] | None = None) -> None:
        metadata = {"name": name, "labels": dict(labels or {})}
        self.objects[kind, name] = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}

    def names(self, kind: Kind) -> list[str]:
        return [name for found, name in self.objects if found == kind]

    def get(self, kind: Kind, name: str, *, namespace: str | None = None) -> Manifest | None:
        assert namespace is None
        return self.objects.get((kind, name))

    def list(
        self, kind: Kind, *, labels: Mapping[str, str] | None = None, namespace: str | None = None
    ) -> list[Manifest]:
        assert namespace is None
        wanted = (labels or {}).items()
        return [
            found
            for (k, _), found in self.objects.items()
            if k == kind and wanted <= found["metadata"]["labels"].items()
        ]

    def apply(self, manifest: Manifest) -> Manifest:
        kind, name = Kind(manifest["apiVersion"], manifest["kind"]), manifest["metadata"]["name"]
        self.acts.append(f"apply {kind.kind} {name}")
        self.objects.setdefault((kind, name), manifest).update(spec=manifest["spec"])
        self.applied(manifest)
        return manifest

    def delete(self, kind: Kind, name: str) -> None:
        self.acts.append(f"delete {kind.kind} {name}")
        self.objects.pop((kind, name), None)


class Clock:
    """Time that passes when somebody sleeps; `each_second` is called then."""

    def __init__(self, each_second: Callable[[], object] = lambda: None) -> None:
        self.now = 0.0
        self._each_second = each_second

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self._each_second()
