"""A Model resource's status: a projection of Postgres and of the last tick, never read back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from canari.launch.launcher import State
from canari.objects import Manifest
from services.controller.loop import Observed
from services.controller.resources import Resource


@dataclass(frozen=True)
class Facts:
    """What a status says beyond what the loop sees. `troubles` are by version; `route_trouble` is the gateway's."""

    verdict: str | None = None
    satisfaction: str | None = None
    url: str | None = None
    troubles: Mapping[int, str] = field(default_factory=dict)
    route_trouble: str | None = None


# The reasons of conditions that are told as events, and the events' own reasons.
_TOLD = {
    "Valid": "SpecAccepted",
    "Invalid": "SpecRefused",
    "Ready": "VersionsReady",
    "Degraded": "VersionDegraded",
    "Failing": "VersionFailing",
    "InForce": "TrafficSplit",
    "NoVersionReady": "NoVersionReady",
}


@dataclass(frozen=True)
class _Condition:
    type: str
    true: bool
    reason: str
    message: str


def status_of(resource: Resource, seen: Observed | None, facts: Facts, now: datetime) -> Manifest:
    """The whole status; a field that holds None is to be taken away."""
    rollout = seen.rollout if seen else None
    conditions = [_accepted(resource), _versions(resource.model, seen, facts), _traffic(seen, facts)]
    return {
        "observedGeneration": resource.generation,
        "stable": seen.stable if seen else None,
        "canary": rollout.canary if rollout else None,
        "weight": rollout.weight if rollout else None,
        "verdict": facts.verdict,
        "satisfaction": facts.satisfaction,
        "url": facts.url,
        "conditions": [_written(condition, resource, now) for condition in conditions],
    }


def told(old: Manifest, new: Manifest) -> list[tuple[str, str, bool]]:
    """What a change of status gives people to know: the event's reason, its note, and whether it warns."""
    before = {c["type"]: (c["reason"], c["message"]) for c in old.get("conditions", [])}
    return [
        (_TOLD[c["reason"]], c["message"], c["status"] == "False" or c["reason"] == "Degraded")
        for c in new["conditions"]
        if c["reason"] in _TOLD and before.get(c["type"]) != (c["reason"], c["message"])
        # That a new model does not answer yet is no news.
        if c["reason"] != "NoVersionReady" or c["type"] in before
    ]


def _accepted(resource: Resource) -> _Condition:
    if resource.fault is None:
        return _Condition("Accepted", True, "Valid", "the specification is live")
    return _Condition(
        "Accepted", False, "Invalid", f"{resource.fault}\nThe last good specification, if any, stays live."
    )


def _versions(model: str, seen: Observed | None, facts: Facts) -> _Condition:
    if seen is None or (seen.stable is None and seen.rollout is None):
        return _Condition(
            "VersionsReady", False, "NoVersion", f"no version of {model} may serve yet: send one with `canari push`"
        )
    told = {number: facts.troubles.get(number, state.value) for number, state in sorted(seen.states.items())}
    waiting = {number: state for number, state in seen.states.items() if state is not State.READY}
    if not waiting and not facts.troubles:
        return _Condition(
            "VersionsReady", True, "Ready", "answering: " + ", ".join(f"version {number}" for number in told)
        )
    lines = "\n".join(
        f"version {number}: {text}" for number, text in told.items() if number in {*waiting, *facts.troubles}
    )
    if not waiting:
        return _Condition("VersionsReady", True, "Degraded", lines)
    starting = seen.trouble is None and set(waiting.values()) == {State.STARTING}
    return _Condition("VersionsReady", False, "Starting" if starting else "Failing", seen.trouble or lines)


def _traffic(seen: Observed | None, facts: Facts) -> _Condition:
    if seen is None or not seen.split.shares:
        return _Condition("TrafficSplit", False, "NoVersionReady", "no version answers: predictions are answered 503")
    shares = ", ".join(f"{share.weight} % to version {share.arm.version}" for share in seen.split.shares)
    if facts.route_trouble is not None:
        return _Condition("TrafficSplit", False, "Pending", f"to be: {shares}; {facts.route_trouble}")
    return _Condition("TrafficSplit", True, "InForce", shares)


def _written(condition: _Condition, resource: Resource, now: datetime) -> Manifest:
    status = "True" if condition.true else "False"
    old: Manifest = next((c for c in resource.status.get("conditions", []) if c["type"] == condition.type), {})
    moment = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "type": condition.type,
        "status": status,
        "reason": condition.reason,
        # The API machinery's own bound on a condition's message.
        "message": condition.message[:32768],
        "observedGeneration": resource.generation,
        "lastTransitionTime": old["lastTransitionTime"] if old.get("status") == status else moment,
    }
