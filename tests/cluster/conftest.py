"""A real cluster, by the kubeconfig in KUBECONFIG; `kubectl` and `helm` on the path."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.cluster.tools import Kubectl


@pytest.fixture(scope="session")
def kubectl() -> Kubectl:
    """The cluster, without a namespace; fails where none answers."""
    found = Kubectl()
    found("version")
    return found


@pytest.fixture(scope="module")
def namespace(kubectl: Kubectl) -> Iterator[Kubectl]:
    """A namespace of this module's own that enforces the strictest Pod Security Standard, gone afterwards."""
    name = f"canari-{uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    yield kubectl.within(name)
    kubectl("delete", "namespace", name, "--wait=false")
