"""Events that `kubectl describe model` shows. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from canari.launch.cluster_config import MANAGER
from canari.objects import EVENT, MODEL, Manifest
from canari.store.decisions import Decision
from services.controller.resources import Resource

# Of those actions that are no states.
_REASONS = {
    "start": "RolloutStarted",
    "queued": "RolloutQueued",
    "advance": "RolloutAdvanced",
    "pause": "RolloutPaused",
    "resume": "RolloutResumed",
    "weight": "WeightChanged",
}


def event(
    resource: Resource, key: str, reason: str, note: str, *, at: datetime, instance: str, warning: bool = False
) -> Manifest:
    """An Event about a Model. Its name follows from `key`, so that the API server refuses the same one twice."""
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {"name": f"{resource.name}.{key}", "namespace": resource.namespace},
        "eventTime": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "type": "Warning" if warning else "Normal",
        "reason": reason,
        "action": reason,
        # The API server's bound.
        "note": note[:1024],
        "regarding": {
            "apiVersion": MODEL.api_version,
            "kind": MODEL.kind,
            "name": resource.name,
            "namespace": resource.namespace,
            "uid": resource.uid,
        },
        "reportingController": f"canari.dev/{MANAGER}",
        "reportingInstance": instance,
    }


def decision_event(resource: Resource, decision: Decision, instance: str) -> Manifest:
    """The Event of a decision. What ends a rollout is called as the condition that follows from it."""
    reason = _REASONS.get(decision.action) or in_camel_case(decision.action)
    note = f"version {decision.canary}: {_part(decision)}; {decision.reason} ({decision.actor})"
    return event(
        resource, f"decision-{decision.id}", reason, note, at=decision.created_at, instance=instance,
        warning=decision.action == "rolled_back",
    )  # fmt: skip


def in_camel_case(action: str) -> str:
    """A decision's action as Kubernetes writes reasons: rolled_back is RolledBack."""
    return "".join(word.capitalize() for word in action.split("_"))


def _part(decision: Decision) -> str:
    if decision.action == "queued":
        return "it waits for the open rollout to end"
    if decision.weight == 0 and decision.action in {"start", "pause", "resume"}:
        return "a shadow, which gets copies of the traffic"
    return f"{decision.weight} % of the traffic"
