from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from canari.launch.launcher import State
from canari.objects import Manifest
from canari.policy import Judgement, Verdict
from canari.spec_file import load_spec
from canari.store.decisions import Decision
from canari.types import Arm, Rollout, RolloutMode, RolloutState, Share, Split
from services.controller.cluster_loop import gateway_url
from services.controller.events import decision_event, event
from services.controller.loop import Observed
from services.controller.projection import Facts, cannot_wait, status_of, told
from services.controller.resources import Resource, read_resource
from tests.conftest import ROOT

SPEC = load_spec(ROOT / "bentos" / "cats_dogs")
NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)


def resource(status: Manifest | None = None, *, name: str = "cats-dogs", spec: Any = None) -> Resource:
    metadata = {
        "name": name,
        "namespace": "models",
        "uid": "u-1",
        "resourceVersion": "42",
        "generation": 3,
        "creationTimestamp": "2026-05-01T00:00:00Z",
    }
    return read_resource({"metadata": metadata, "spec": spec or SPEC.document(), "status": status or {}})


def seen(states: dict[int, State], *, weights: dict[int, int], rollout: Rollout | None = None, **more: Any) -> Observed:
    shares = tuple(Share(Arm(0, 0, version), weight) for version, weight in weights.items())
    return Observed("cats_dogs", 1, rollout, states, Split("cats_dogs", shares, (), 30.0), **more)


def decision(action: str, *, weight: int = 20) -> Decision:
    return Decision(17, "cats_dogs", 2, action, weight, "it is worse", "ana", NOW)


def on_trial(judgement: Judgement | None = None, **changes: Any) -> Observed:
    rollout = Rollout(7, "cats_dogs", 1, 2, 0, 20, RolloutState.OPEN, NOW, mode=RolloutMode.JUDGED)
    states = {1: State.READY, 2: State.READY}
    return seen(states, weights={1: 80, 2: 20}, rollout=replace(rollout, **changes), judgement=judgement)


def conditions(status: Manifest) -> dict[str, tuple[str, str, str]]:
    return {c["type"]: (c["status"], c["reason"], c["message"]) for c in status["conditions"]}


def test_a_model_in_the_middle_of_a_rollout_is_told_in_full() -> None:
    rollout = Rollout(7, "cats_dogs", 1, 2, 0, 20, RolloutState.OPEN, NOW)
    one = seen({1: State.READY, 2: State.READY}, weights={1: 80, 2: 20}, rollout=rollout)
    facts = Facts(last=decision("start"), satisfaction="84 %", url="http://10.0.0.1/api/cats_dogs/predict")
    status = status_of(resource(), one, facts, NOW)
    told_conditions = conditions(status)
    del status["conditions"]
    assert status == {
        "observedGeneration": 3,
        "stable": 1,
        "canary": 2,
        "weight": 20,
        "verdict": "start",
        "satisfaction": "84 %",
        "url": "http://10.0.0.1/api/cats_dogs/predict",
    }
    assert told_conditions == {
        "Accepted": ("True", "Valid", "the specification is live"),
        "VersionsReady": ("True", "Ready", "answering: version 1, version 2"),
        "TrafficSplit": ("True", "InForce", "80 % to version 1, 20 % to version 2"),
        "Progressing": ("False", "ByHand", "version 2 keeps 20 % of the traffic until a person says else"),
    }


def test_a_model_without_a_version_says_how_to_send_one() -> None:
    status = conditions(status_of(resource(), None, Facts(), NOW))
    assert status["VersionsReady"][:2] == ("False", "NoVersion")
    assert "canari push" in status["VersionsReady"][2]
    assert status["TrafficSplit"][:2] == ("False", "NoVersionReady")


def test_a_version_that_fails_is_told_apart_from_one_that_starts() -> None:
    starting = seen({1: State.READY, 2: State.STARTING}, weights={1: 100})
    assert conditions(status_of(resource(), starting, Facts(), NOW))["VersionsReady"] == (
        "False",
        "Starting",
        "version 2: starting",
    )
    failing = seen({1: State.READY, 2: State.BACKOFF}, weights={1: 100})
    facts = Facts(troubles={2: "pod x, bento: ended with code 1"})
    assert conditions(status_of(resource(), failing, facts, NOW))["VersionsReady"] == (
        "False",
        "Failing",
        "version 2: pod x, bento: ended with code 1",
    )
    refused = seen({1: State.ABSENT}, weights={}, trouble="the API server said no")
    assert conditions(status_of(resource(), refused, Facts(), NOW))["VersionsReady"] == (
        "False",
        "Failing",
        "the API server said no",
    )


def test_a_version_that_answers_while_a_pod_of_it_fails_is_degraded() -> None:
    one = seen({1: State.READY}, weights={1: 100})
    status = status_of(resource(), one, Facts(troubles={1: "no node"}), NOW)
    assert conditions(status)["VersionsReady"] == ("True", "Degraded", "version 1: no node")
    assert ("VersionDegraded", "version 1: no node", True) in told({}, status)


def test_a_split_the_gateway_has_not_taken_in_is_pending() -> None:
    one = seen({1: State.READY}, weights={1: 100})
    status = status_of(resource(), one, Facts(route_trouble="there is no Gateway"), NOW)
    assert conditions(status)["TrafficSplit"] == ("False", "Pending", "to be: 100 % to version 1; there is no Gateway")


def test_a_specification_that_does_not_hold_is_told_field_by_field() -> None:
    broken = resource(spec={**SPEC.document(), "labels": ["cat"], "speed": 3})
    assert broken.spec is None
    assert broken.model == "cats_dogs"
    state, reason, message = conditions(status_of(broken, None, Facts(), NOW))["Accepted"]
    assert (state, reason) == ("False", "Invalid")
    assert "labels: Tuple should have at least 2 items" in message
    assert "speed: there is no such field; the fields here are: abstain, access" in message


def test_a_resource_that_is_not_called_as_its_model_is_refused() -> None:
    assert resource(name="kittens").fault == "metadata.name: it must be cats-dogs, for the model is called cats_dogs"


HOLD = Judgement(Verdict.HOLD, "feedback: 12 votes for the canary so far, 50 are the least that counts", "satisfaction")
BARRED = Judgement(Verdict.HOLD, "no proxy of the gateway told its counts", barred=True)


@pytest.mark.parametrize(
    ("one", "facts", "told_condition", "verdict"),
    [
        (None, Facts(), ("NoRollout", "no version of cats_dogs has been on trial: `canari rollout start`"), None),
        (on_trial(), Facts(), ("True Judged", "version 2 has not been looked at yet"), None),
        (on_trial(HOLD), Facts(), ("True Judged", HOLD.sentence), "hold"),
        (on_trial(HOLD, weight=0), Facts(), ("True Shadowing", HOLD.sentence), "hold"),
        (on_trial(BARRED), Facts(barred_seconds=12), ("True Judged", BARRED.sentence), "hold"),
        (on_trial(BARRED), Facts(barred_seconds=31), ("Held", BARRED.sentence), "hold"),
        (
            on_trial(BARRED, paused_at=NOW),
            Facts(decision("pause"), barred_seconds=31),
            ("Paused", "version 2 neither advances nor is promoted until it is resumed: it is worse (ana)"),
            "hold",
        ),
    ],
)
def test_a_rollout_that_is_judged_tells_whether_it_progresses_and_why(
    one: Observed | None, facts: Facts, told_condition: tuple[str, str], verdict: str | None
) -> None:
    status = status_of(resource(), one, facts, NOW)
    state, reason, message = conditions(status)["Progressing"]
    assert f"{state} {reason}".removeprefix("False ") == told_condition[0]
    assert message.startswith(told_condition[1])
    assert status["verdict"] == verdict


@pytest.mark.parametrize(
    ("action", "reason"), [("promoted", "Promoted"), ("rolled_back", "RolledBack"), ("aborted", "Aborted")]
)
def test_a_rollout_that_has_ended_leaves_its_outcome(action: str, reason: str) -> None:
    # The judge goes on after a promotion; what is told is how the rollout ended.
    one = seen({1: State.READY, 2: State.READY}, weights={2: 100}, judgement=BARRED)
    status = status_of(resource(), one, Facts(decision(action)), NOW)
    assert conditions(status)["Progressing"] == ("False", reason, "version 2: it is worse (ana)")
    assert status["verdict"] == action


def test_a_rollout_that_is_held_warns_once_whatever_its_figures_and_stays_so_for_a_new_controller() -> None:
    judged = status_of(resource(), on_trial(HOLD), Facts(), NOW)
    held = status_of(resource(judged), on_trial(BARRED), Facts(barred_seconds=31), NOW)
    assert told(judged, held) == [("Held", BARRED.sentence, True)]
    still = status_of(resource(held), on_trial(replace(BARRED, sentence="other words")), Facts(), NOW)
    assert conditions(still)["Progressing"] == ("False", "Held", "other words")
    assert told(held, still) == []
    assert told(still, status_of(resource(still), on_trial(HOLD), Facts(), NOW)) == []


def test_figures_that_move_can_wait_and_anything_else_cannot() -> None:
    first = status_of(resource(), on_trial(HOLD), Facts(), NOW)
    moved = status_of(resource(first), on_trial(replace(HOLD, sentence="feedback: 13 votes")), Facts(), NOW)
    assert first != moved
    assert not cannot_wait(first, moved)
    assert cannot_wait({}, first)
    assert cannot_wait(first, status_of(resource(first), on_trial(HOLD, weight=50), Facts(), NOW))
    assert cannot_wait(first, status_of(resource(first), on_trial(HOLD, paused_at=NOW), Facts(), NOW))


def test_a_condition_keeps_the_moment_at_which_it_last_turned() -> None:
    one = seen({1: State.READY}, weights={1: 100})
    first = status_of(resource(), one, Facts(), NOW)
    later = status_of(resource(first), one, Facts(), NOW + timedelta(hours=1))
    assert later == first
    away = status_of(resource(first), seen({1: State.BACKOFF}, weights={}), Facts(), NOW + timedelta(hours=2))
    moments = {c["type"]: c["lastTransitionTime"] for c in away["conditions"]}
    assert moments == {
        "Accepted": "2026-05-04T03:02:01Z",
        "VersionsReady": "2026-05-04T05:02:01Z",
        "TrafficSplit": "2026-05-04T05:02:01Z",
        "Progressing": "2026-05-04T03:02:01Z",
    }


def test_only_changes_that_people_want_to_know_of_are_told() -> None:
    first = status_of(resource(), seen({1: State.READY}, weights={1: 100}), Facts(), NOW)
    assert [reason for reason, _, _ in told({}, first)] == ["SpecAccepted", "VersionsReady", "TrafficSplit"]
    assert told(first, first) == []
    starting = status_of(
        resource(first), seen({1: State.READY, 2: State.STARTING}, weights={1: 100}), Facts(route_trouble="wait"), NOW
    )
    assert told(first, starting) == []
    dead = status_of(resource(first), seen({1: State.BACKOFF}, weights={}), Facts(), NOW)
    assert [(reason, warns) for reason, _, warns in told(first, dead)] == [
        ("VersionFailing", True),
        ("NoVersionReady", True),
    ]


def test_an_event_is_about_the_resource_and_within_the_api_servers_bounds() -> None:
    made = event(resource(), "key", "VersionStarted", "x" * 2000, at=NOW, instance="me", warning=True)
    assert made["metadata"] == {"name": "cats-dogs.key", "namespace": "models"}
    assert made["regarding"]["uid"] == "u-1"
    assert (made["type"], made["eventTime"]) == ("Warning", "2026-05-04T03:02:01.000000Z")
    assert len(made["note"]) == 1024


def test_a_decisions_event_is_named_by_the_decision() -> None:
    made = decision_event(resource(), decision("rolled_back", weight=0), "me")
    assert made["metadata"]["name"] == "cats-dogs.decision-17"
    assert (made["reason"], made["type"]) == ("RolledBack", "Warning")
    assert made["note"] == "version 2: 0 % of the traffic; it is worse (ana)"


@pytest.mark.parametrize(
    ("action", "weight", "reason", "note"),
    [
        ("start", 5, "RolloutStarted", "5 % of the traffic"),
        ("start", 0, "RolloutStarted", "a shadow, which gets copies of the traffic"),
        ("queued", 0, "RolloutQueued", "it waits for the open rollout to end"),
        ("advance", 25, "RolloutAdvanced", "25 % of the traffic"),
        ("pause", 25, "RolloutPaused", "25 % of the traffic"),
        ("resume", 25, "RolloutResumed", "25 % of the traffic"),
        ("weight", 30, "WeightChanged", "30 % of the traffic"),
        ("promoted", 100, "Promoted", "100 % of the traffic"),
        ("aborted", 0, "Aborted", "0 % of the traffic"),
        ("superseded", 0, "Superseded", "0 % of the traffic"),
        ("bootstrap", 100, "Bootstrap", "100 % of the traffic"),
    ],
)
def test_every_kind_of_decision_has_a_reason_that_reads_well(action: str, weight: int, reason: str, note: str) -> None:
    made = decision_event(resource(), decision(action, weight=weight), "me")
    assert (made["reason"], made["type"]) == (reason, "Normal")
    assert made["note"] == f"version 2: {note}; it is worse (ana)"


def test_the_url_is_the_gateways() -> None:
    def gateway(listener: dict[str, Any], *addresses: str) -> Manifest:
        status = {"addresses": [{"type": "IPAddress", "value": address} for address in addresses]}
        return {"spec": {"listeners": [listener]}, "status": status}

    http, https = (
        {"protocol": "HTTP", "port": 80},
        {"protocol": "HTTPS", "port": 8443, "hostname": "models.example.org"},
    )
    assert gateway_url(None) is None
    assert gateway_url(gateway(http)) is None
    assert gateway_url(gateway(http, "10.0.0.1")) == "http://10.0.0.1"
    assert gateway_url(gateway(https, "10.0.0.1")) == "https://models.example.org:8443"
