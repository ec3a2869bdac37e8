"""What is said to an API server, and what is made of its answers; tests/cluster speaks to a real one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from canari.errors import CanariError
from canari.kube import ApiError, Kube, connect
from canari.objects import DEPLOYMENT, EVENT, LEASE, MODEL, POD, SECRET

MANIFEST = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "drift-v1"}, "spec": {"replicas": 1}}


class Server(ThreadingHTTPServer):
    """Answers what it is told to, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer: tuple[int, Any] = (200, MANIFEST)
        self.asked: list[tuple[str, str, dict[str, str], Any, str]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def _answer(self) -> None:
        url = urlsplit(self.path)
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.server.asked.append((self.command, url.path, query, body, self.headers["Content-Type"]))
        status, answer = self.server.answer
        said = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815 - the base class's own names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def kubeconfig(server: Server, tmp_path: Path) -> Path:
    file = tmp_path / "kubeconfig"
    file.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "it",
                "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
                "clusters": [{"name": "it", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
                "users": [{"name": "it", "user": {}}],
            }
        )
    )
    return file


@pytest.fixture
def kube(kubeconfig: Path) -> Kube:
    return Kube(connect(kubeconfig), "models")


def test_apply_is_server_side_and_takes_what_it_names(server: Server, kube: Kube) -> None:
    assert kube.apply(MANIFEST) == MANIFEST
    [(method, path, query, body, content_type)] = server.asked
    assert (method, path) == ("PATCH", "/apis/apps/v1/namespaces/models/deployments/drift-v1")
    assert query == {"fieldManager": "canari-controller", "force": "true"}
    assert body == MANIFEST
    assert content_type == "application/apply-patch+yaml"


def test_a_manifest_that_names_a_namespace_goes_there(server: Server, kube: Kube) -> None:
    kube.apply({**MANIFEST, "metadata": {"name": "drift-v1", "namespace": "elsewhere"}})
    assert server.asked[0][1] == "/apis/apps/v1/namespaces/elsewhere/deployments/drift-v1"


def test_lists_are_by_labels_and_their_items_are_whole_manifests(server: Server, kube: Kube) -> None:
    server.answer = (200, {"items": [{"metadata": {"name": "a"}}]})
    assert kube.list(POD, labels={"a": "b", "c": "d"}, namespace="proxies") == [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}
    ]
    kube.list(MODEL)
    assert [(path, query) for _, path, query, _, _ in server.asked] == [
        ("/api/v1/namespaces/proxies/pods", {"labelSelector": "a=b,c=d"}),
        ("/apis/canari.dev/v1alpha1/namespaces/models/models", {}),
    ]


def test_what_is_absent_is_none_and_deleting_it_is_fine(server: Server, kube: Kube) -> None:
    server.answer = (404, {"message": "not found"})
    assert kube.get(DEPLOYMENT, "drift-v1") is None
    kube.delete(SECRET, "drift-v1")
    assert server.asked[1][:3] == (
        "DELETE",
        "/api/v1/namespaces/models/secrets/drift-v1",
        {"propagationPolicy": "Background"},
    )


def test_a_status_is_merged_into_its_own_part(server: Server, kube: Kube) -> None:
    kube.patch_status(MODEL, "drift", {"stable": 1, "canary": None})
    method, path, _, body, content_type = server.asked[0]
    assert (method, path) == ("PATCH", "/apis/canari.dev/v1alpha1/namespaces/models/models/drift/status")
    assert (body, content_type) == ({"status": {"stable": 1, "canary": None}}, "application/merge-patch+json")


def test_create_and_replace_are_as_plain_as_that(server: Server, kube: Kube) -> None:
    kube.create({"apiVersion": EVENT.api_version, "kind": EVENT.kind, "metadata": {"name": "a"}})
    kube.replace({"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": {"name": "b"}})
    assert [asked[:2] for asked in server.asked] == [
        ("POST", "/apis/events.k8s.io/v1/namespaces/models/events"),
        ("PUT", "/apis/coordination.k8s.io/v1/namespaces/models/leases/b"),
    ]


def test_a_rehearsal_asks_the_server_to_keep_nothing(server: Server, kubeconfig: Path) -> None:
    rehearsing = Kube(connect(kubeconfig), "models", dry_run=True)
    rehearsing.apply(MANIFEST)
    rehearsing.delete(DEPLOYMENT, "drift-v1")
    rehearsing.patch_status(MODEL, "drift", {})
    assert [query["dryRun"] for _, _, query, _, _ in server.asked] == ["All", "All", "All"]


def test_nothing_is_written_where_the_guard_forbids_it(server: Server, kubeconfig: Path) -> None:
    def forbid() -> None:
        raise PermissionError("not now")

    guarded = Kube(connect(kubeconfig), "models", guard=forbid)
    guarded.get(DEPLOYMENT, "drift-v1")
    with pytest.raises(PermissionError):
        guarded.apply(MANIFEST)
    assert [asked[0] for asked in server.asked] == ["GET"]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((403, {"message": "pods is forbidden"}), "Deployment drift-v1: pods is forbidden"),
        ((502, "<html>"), "Deployment drift-v1: 502 Bad Gateway"),
    ],
)
def test_a_refusal_is_told_in_the_servers_words(server: Server, kube: Kube, answer: tuple[int, Any], told: str) -> None:
    server.answer = answer
    with pytest.raises(ApiError, match=told) as refusal:
        kube.get(DEPLOYMENT, "drift-v1")
    assert refusal.value.status == answer[0]


def test_a_server_that_is_away_is_told_so(server: Server, kube: Kube) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(ApiError, match="does not answer") as refusal:
        kube.list(DEPLOYMENT)
    assert refusal.value.status == 0


def test_without_a_cluster_it_is_told_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(CanariError, match="set KUBECONFIG"):
        connect(tmp_path / "none")
