"""A Model resource's status: a projection of Postgres and of the last tick, never read back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from canari.launch.launcher import State
from canari.objects import Manifest, differences
from canari.store.decisions import Decision
from canari.types import Rollout, RolloutMode
from services.controller.events import in_camel_case
from services.controller.loop import Observed
from services.controller.resources import Resource


@dataclass(frozen=True)
class Facts:
    """What a status says beyond what the loop sees.

    `last` is the model's last decision, and `barred_seconds` how long something has kept its open rollout from going
    on. `troubles` are by version; `route_trouble` is the gateway's.
    """

    last: Decision | None = None
    satisfaction: str | None = None
    url: str | None = None
    troubles: Mapping[int, str] = field(default_factory=dict)
    route_trouble: str | None = None
    barred_seconds: float = 0.0


_PROGRESSING, _HELD = "Progressing", "Held"
# Nothing advances until a change of split is in force everywhere: that passes by itself, and is no news.
_HELD_SECONDS = 30.0
# The reasons of conditions that are told as events, and the events' own reasons.
_TOLD = {
    "Valid": "SpecAccepted",
    "Invalid": "SpecRefused",
    "Ready": "VersionsReady",
    "Degraded": "VersionDegraded",
    "Failing": "VersionFailing",
    "InForce": "TrafficSplit",
    "NoVersionReady": "NoVersionReady",
    _HELD: "Held",
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
    conditions = [
        _accepted(resource),
        _versions(resource.model, seen, facts),
        _traffic(seen, facts),
        _progressing(resource, seen, facts),
    ]
    return {
        "observedGeneration": resource.generation,
        "stable": seen.stable if seen else None,
        "canary": rollout.canary if rollout else None,
        "weight": rollout.weight if rollout else None,
        "verdict": _verdict(seen, facts),
        "satisfaction": facts.satisfaction,
        "url": facts.url,
        "conditions": [_written(condition, resource, now) for condition in conditions],
    }


def barred(seen: Observed) -> bool:
    """Whether something but people keeps the model's open rollout from going on."""
    running = seen.rollout is not None and seen.rollout.paused_at is None
    return running and seen.judgement is not None and seen.judgement.barred


def told(old: Manifest, new: Manifest) -> list[tuple[str, str, bool]]:
    """What a change of status gives people to know: the event's reason, its note, and whether it warns."""
    before = {c["type"]: c for c in old.get("conditions", [])}
    return [
        (_TOLD[c["reason"]], c["message"], c["status"] == "False" or c["reason"] == "Degraded")
        for c in new["conditions"]
        if c["reason"] in _TOLD and _is_news(c, before.get(c["type"]))
    ]


def cannot_wait(old: Manifest, new: Manifest) -> bool:
    """Whether more has changed than the words of a judgement, whose figures move from look to look."""
    return bool(differences(_without_figures(old), _without_figures(new)))


def _is_news(condition: Manifest, before: Manifest | None) -> bool:
    if before is None:
        # That a new model does not answer yet is no news.
        return bool(condition["reason"] != "NoVersionReady")
    heeded = ("reason",) if condition["reason"] == _HELD else ("reason", "message")
    return any(condition[key] != before[key] for key in heeded)


def _without_figures(status: Manifest) -> Manifest:
    conditions = [
        {**condition, "message": ""} if condition["type"] == _PROGRESSING else condition
        for condition in status.get("conditions", [])
    ]
    return {**status, "conditions": conditions}


def _verdict(seen: Observed | None, facts: Facts) -> str | None:
    if seen is not None and seen.rollout is not None and seen.judgement is not None:
        return seen.judgement.verdict.name.lower()
    return facts.last.action if facts.last else None


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


def _progressing(resource: Resource, seen: Observed | None, facts: Facts) -> _Condition:
    rollout = seen.rollout if seen else None
    if seen is None or rollout is None:
        return _outcome(resource.model, facts.last)
    if rollout.mode is RolloutMode.MANUAL:
        by_hand = f"version {rollout.canary} keeps {rollout.weight} % of the traffic until a person says else"
        return _Condition(_PROGRESSING, False, "ByHand", by_hand)
    if rollout.paused_at is not None:
        return _Condition(_PROGRESSING, False, "Paused", _paused(rollout, facts.last))
    said = f"version {rollout.canary} has not been looked at yet"
    if seen.judgement is not None:
        said = seen.judgement.sentence
        before = _condition(resource, _PROGRESSING).get("reason")
        if barred(seen) and (before == _HELD or facts.barred_seconds >= _HELD_SECONDS):
            return _Condition(_PROGRESSING, False, _HELD, said)
    return _Condition(_PROGRESSING, True, "Judged" if rollout.weight else "Shadowing", said)


def _outcome(model: str, last: Decision | None) -> _Condition:
    if last is None:
        said = f"no version of {model} has been on trial: `canari rollout start` begins one"
        return _Condition(_PROGRESSING, False, "NoRollout", said)
    return _Condition(
        _PROGRESSING, False, in_camel_case(last.action), f"version {last.canary}: {last.reason} ({last.actor})"
    )


def _paused(rollout: Rollout, last: Decision | None) -> str:
    why = f": {last.reason} ({last.actor})" if last and last.action == "pause" else ""
    return f"version {rollout.canary} neither advances nor is promoted until it is resumed{why}"


def _condition(resource: Resource, kind: str) -> Manifest:
    """A condition as it was told last; empty where it never was."""
    return next((c for c in resource.status.get("conditions", []) if c["type"] == kind), {})


def _written(condition: _Condition, resource: Resource, now: datetime) -> Manifest:
    status = "True" if condition.true else "False"
    old = _condition(resource, condition.type)
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
