"""Who reaches whom in an installed release, on a cluster whose network enforces NetworkPolicies.

The release is the one in CANARI_TEST_NAMESPACE (`canari`), as `k8s/minikube.sh` installs it.
"""

from __future__ import annotations

import os

import pytest

from tests.cluster.tools import Kubectl

_CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3).close()
except socket.gaierror:
    sys.exit("there is no such name")
except OSError:
    print("closed")
else:
    print("open")
"""
OPEN = [
    ("bento", "canari-feedback", 80),
    ("feedback", "canari-postgres", 5432),
    ("controller", "canari-postgres", 5432),
    ("controller", "kubernetes.default", 443),
]
CLOSED = [
    ("bento", "canari-postgres", 5432),
    ("bento", "canari-portal", 80),
    ("bento", "canari-fetcher", 80),
    ("bento", "kubernetes.default", 443),
    ("portal", "canari-postgres", 5432),
    ("portal", "kubernetes.default", 443),
    ("fetcher", "canari-feedback", 80),
    ("fetcher", "canari-postgres", 5432),
    ("fetcher", "kubernetes.default", 443),
    ("feedback", "kubernetes.default", 443),
]


@pytest.fixture(scope="module")
def kubectl() -> Kubectl:
    """The namespace of the release."""
    return Kubectl(os.environ.get("CANARI_TEST_NAMESPACE", "canari"))


def reach(kubectl: Kubectl, component: str, host: str, port: int) -> str:
    """Whether a pod of `component` can connect: `open` or `closed`."""
    pods = kubectl.items(
        "pods", f"--selector=app.kubernetes.io/component={component}", "--field-selector=status.phase=Running"
    )
    assert pods, f"no pod of {component} runs"
    name = pods[0]["metadata"]["name"]
    return kubectl("exec", name, "--", "python", "-c", _CONNECT, host, str(port)).strip()


@pytest.mark.parametrize(("component", "host", "port"), OPEN)
def test_what_must_be_reached_is(kubectl: Kubectl, component: str, host: str, port: int) -> None:
    assert reach(kubectl, component, host, port) == "open"


@pytest.mark.parametrize(("component", "host", "port"), CLOSED)
def test_what_need_not_be_reached_is_not(kubectl: Kubectl, component: str, host: str, port: int) -> None:
    assert reach(kubectl, component, host, port) == "closed"
