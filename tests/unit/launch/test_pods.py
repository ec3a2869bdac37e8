from __future__ import annotations

from typing import Any

import pytest

from canari.launch.pods import fails, lacks_secret, trouble_of
from canari.objects import Manifest


def pod(*, init: Any = None, main: Any = None, conditions: Any = ()) -> Manifest:
    return {
        "metadata": {"name": "drift-v1-x"},
        "status": {
            "initContainerStatuses": [{"name": "fetch", "image": "canari/runtime:0.2.0", **init}] if init else [],
            "containerStatuses": [{"name": "bento", "image": "canari/runtime:0.2.0", **main}] if main else [],
            "conditions": list(conditions),
        },
    }


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason, "message": message}}}


ENDED = {"terminated": {"exitCode": 1, "message": "first line\ncanari: the archive is damaged\n"}}


def test_a_pod_that_starts_or_runs_has_no_trouble() -> None:
    for healthy in (
        pod(),
        pod(init={"state": {"running": {}}}, main=waiting("PodInitializing")),
        pod(main={"state": {"running": {}}, "ready": False}),
        pod(init={"state": {"terminated": {"exitCode": 0}}, "ready": True, "lastState": ENDED}),
    ):
        assert trouble_of(healthy) is None
        assert not fails(healthy)


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (waiting("ImagePullBackOff", "Back-off"), "bento: the image canari/runtime:0.2.0 cannot be pulled"),
        (waiting("ErrImagePull", "not found"), "bento: the image canari/runtime:0.2.0 cannot be pulled"),
        (waiting("CreateContainerConfigError", "no such key"), "bento: no such key"),
        (
            {**waiting("CrashLoopBackOff", "back-off 10s"), "lastState": ENDED},
            "bento: ended with code 1: canari: the archive is damaged",
        ),
        (waiting("CrashLoopBackOff", "back-off 10s"), "bento: back-off 10s"),
        (
            {"state": {"running": {}}, "ready": False, "lastState": ENDED},
            "bento: ended with code 1: canari: the archive is damaged",
        ),
    ],
)
def test_a_failing_container_is_told_in_the_same_words_from_try_to_try(state: dict[str, Any], told: str) -> None:
    assert trouble_of(pod(main=state)) == f"pod drift-v1-x, {told}"
    assert fails(pod(main=state))


def test_a_failing_init_container_is_told() -> None:
    assert trouble_of(pod(init={"state": ENDED})) == (
        "pod drift-v1-x, fetch: ended with code 1: canari: the archive is damaged"
    )


def test_a_pod_that_finds_no_node_waits_and_does_not_fail() -> None:
    unplaced = pod(conditions=[{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}])
    assert trouble_of(unplaced) == "pod drift-v1-x: 0/1 nodes are available"
    assert not fails(unplaced)


def test_a_missing_secret_is_told_from_other_faults_of_configuration() -> None:
    missing = pod(init=waiting("CreateContainerConfigError", 'secret "drift-v1" not found'))
    assert lacks_secret(missing, "drift-v1")
    assert not lacks_secret(missing, "drift-v10")
    assert not lacks_secret(pod(init=waiting("CreateContainerConfigError", "no such key")), "drift-v1")
