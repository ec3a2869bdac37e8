from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from canari.launch.launcher import State
from canari.objects import Manifest
from canari.spec_file import load_spec
from canari.store.decisions import Decision
from canari.types import Arm, Rollout, RolloutState, Share, Split
from services.controller.cluster_loop import gateway_url
from services.controller.events import decision_event, event
from services.controller.loop import Observed
from services.controller.projection import Facts, status_of, told
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


def conditions(status: Manifest) -> dict[str, tuple[str, str, str]]:
    return {c["type"]: (c["status"], c["reason"], c["message"]) for c in status["conditions"]}


def test_a_model_in_the_middle_of_a_rollout_is_told_in_full() -> None:
    rollout = Rollout(7, "cats_dogs", 1, 2, 0, 20, RolloutState.OPEN, NOW)
    one = seen({1: State.READY, 2: State.READY}, weights={1: 80, 2: 20}, rollout=rollout)
    facts = Facts(verdict="start", satisfaction="84 %", url="http://10.0.0.1/api/cats_dogs/predict")
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
    decision = Decision(17, "cats_dogs", 2, "rolled_back", 0, "it is worse", "ana", NOW)
    made = decision_event(resource(), decision, "me")
    assert made["metadata"]["name"] == "cats-dogs.decision-17"
    assert (made["reason"], made["type"]) == ("RolledBack", "Warning")
    assert made["note"] == "version 2: 0 % of the traffic; it is worse (ana)"


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
