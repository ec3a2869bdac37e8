"""Why a pod does not run, read from its status. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from canari.objects import Manifest

_IMAGE = frozenset({"ErrImageNeverPull", "ErrImagePull", "ImageInspectError", "ImagePullBackOff", "InvalidImageName"})
_CONFIG = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_CRASHING = "CrashLoopBackOff"


def fails(pod: Manifest) -> bool:
    """Whether one of a pod's containers cannot start, or ends again and again."""
    return next(_failures(pod), None) is not None


def trouble_of(pod: Manifest) -> str | None:
    """Why a pod fails, or waits for a node; None where neither is so.

    The words stay the same from one try to the next, so that whoever watches them sees one trouble, not many.
    """
    name = pod["metadata"]["name"]
    failure = next(_failures(pod), None)
    if failure is not None:
        return f"pod {name}, {failure}"
    for condition in pod.get("status", {}).get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"pod {name}: {condition.get('message') or condition.get('reason')}"
    return None


def lacks_secret(pod: Manifest, name: str) -> bool:
    """Whether a pod cannot start for want of the Secret called `name`."""
    waits = (container.get("state", {}).get("waiting", {}) for container in _containers(pod))
    return any(wait.get("reason") in _CONFIG and f'secret "{name}"' in wait.get("message", "") for wait in waits)


def _failures(pod: Manifest) -> Iterator[str]:
    for container in _containers(pod):
        waiting = container.get("state", {}).get("waiting", {})
        reason = waiting.get("reason", "")
        if reason in _IMAGE:
            yield f"{container['name']}: the image {container['image']} cannot be pulled"
        elif reason in _CONFIG:
            yield f"{container['name']}: {waiting.get('message') or reason}"
        elif (ended := _ended(container)) is not None:
            said = (ended.get("message") or "").strip().splitlines()
            yield f"{container['name']}: ended with code {ended.get('exitCode')}" + (f": {said[-1]}" if said else "")
        elif reason == _CRASHING:
            yield f"{container['name']}: {waiting.get('message') or reason}"


def _ended(container: dict[str, Any]) -> dict[str, Any] | None:
    """How a container that does not answer ended when it last ran; None where it never failed."""
    if container.get("ready"):
        return None
    for state in (container.get("state", {}), container.get("lastState", {})):
        ended: dict[str, Any] = state.get("terminated") or {}
        if ended.get("exitCode"):
            return ended
    return None


def _containers(pod: Manifest) -> list[dict[str, Any]]:
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
