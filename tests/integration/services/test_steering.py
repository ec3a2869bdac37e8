from itertools import product
from typing import Any
from uuid import uuid4

import httpx
import pytest

from canari.spec import ModelSpec
from canari.store import predictions, rollouts, versions
from canari.tokens import Scope
from canari.types import Desired, RequestKind
from tests.integration.services.conftest import Api
from tests.integration.store.samples_of import prediction


@pytest.fixture
def second(api: Api, cats_dogs: ModelSpec) -> int:
    number = versions.allot(api.context.engine, cats_dogs, manifest_digest="n", synthetic=True)
    versions.mark_ready(api.context.engine, "cats_dogs", number, archive="b" * 64, metrics={})
    return number


def post(api: Api, route: str, body: dict[str, Any] | None = None) -> httpx.Response:
    headers = api.token(Scope.OPERATE, subject="account:ada")
    answer: httpx.Response = api.client.post(f"/api/cats_dogs/rollout{route}", json=body, headers=headers)
    return answer


def test_a_version_is_deployed_moved_and_promoted_and_the_history_names_who_did_it(api: Api, second: int) -> None:
    opened = post(api, "", {"version": second, "weight": 20}).json()
    assert (opened["state"], opened["stable"], opened["canary"], opened["weight"]) == ("open", 1, 2, 20)
    assert post(api, "", {"version": second, "weight": 50}).json()["weight"] == 50
    promoted = post(api, "/promote", {"reason": "users like it"}).json()
    assert (promoted["state"], promoted["stable"], promoted["canary"], promoted["weight"]) == ("promoted", 2, None, 0)
    assert rollouts.desired(api.context.engine)["cats_dogs"] == Desired(2)
    newest = rollouts.history(api.context.engine, "cats_dogs")[0]
    assert (newest["action"], newest["reason"], newest["actor"]) == ("promoted", "users like it", "account:ada")


def test_a_rollout_is_rolled_back_with_or_without_a_reason(api: Api, second: int) -> None:
    for body in ({"reason": "it errs"}, None):
        post(api, "", {"version": second, "weight": 20})
        settled = post(api, "/rollback", body).json()
        assert (settled["state"], settled["stable"], settled["canary"]) == ("rolled_back", 1, None)
    reasons = [row["reason"] for row in rollouts.history(api.context.engine, "cats_dogs")]
    assert reasons[0] == "by hand"
    assert "it errs" in reasons


def test_what_is_at_odds_with_how_things_stand_is_a_conflict(api: Api, cats_dogs: ModelSpec) -> None:
    building = versions.allot(api.context.engine, cats_dogs, manifest_digest="n", synthetic=True)
    conflicts = [
        (post(api, "/promote"), "No rollout of cats_dogs is open: there is nothing to promote."),
        (post(api, "/rollback"), "No rollout of cats_dogs is open: there is nothing to roll back."),
        (post(api, "", {"version": building, "weight": 5}), "Version 2 of cats_dogs is building, not ready."),
    ]
    for answer, told in conflicts:
        assert (answer.status_code, answer.json()["detail"]) == (409, told)
    absent = post(api, "", {"version": 7, "weight": 5})
    assert (absent.status_code, absent.json()["type"]) == (404, "urn:canari:problem:unknown-version")
    assert post(api, "", {"version": 1, "weight": 0}).status_code == 422


def test_steering_needs_the_scope_operate_for_the_model(api: Api, second: int) -> None:
    for route, body in {"": {"version": second, "weight": 20}, "/promote": {}, "/rollback": {}}.items():
        assert api.client.post(f"/api/cats_dogs/rollout{route}", json=body).status_code == 401
        for token in (api.token(Scope.PREDICT), api.token(Scope.OPERATE, models=("drift",))):
            assert api.client.post(f"/api/cats_dogs/rollout{route}", json=body, headers=token).status_code == 403
    assert rollouts.desired(api.context.engine)["cats_dogs"] == Desired(1)


@pytest.fixture
def third(api: Api, cats_dogs: ModelSpec, second: int) -> int:
    del second
    number = versions.allot(api.context.engine, cats_dogs, manifest_digest="o", synthetic=True)
    versions.mark_ready(api.context.engine, "cats_dogs", number, archive="c" * 64, metrics={})
    return number


def get(api: Api, route: str = "", **parameters: Any) -> httpx.Response:
    headers = api.token(Scope.OPERATE, subject="account:ada")
    answer: httpx.Response = api.client.get(f"/api/cats_dogs/rollouts{route}", params=parameters, headers=headers)
    return answer


def test_without_a_weight_a_version_is_judged_and_what_to_expect_is_told(api: Api, second: int) -> None:
    opened = post(api, "", {"version": second, "reason": "more winter photos"}).json()
    assert (opened["state"], opened["mode"], opened["stable"], opened["canary"]) == ("open", "judged", 1, 2)
    assert opened["weight"] == 5
    assert (opened["expected"]["days"], opened["expected"]["votes_per_day"]) == (None, 0)
    assert "there will be no verdict" in opened["expected"]["sentence"]
    shown = get(api, f"/{opened['rollout']}").json()
    assert (shown["proposed_by"], shown["reason"], shown["steps"]) == ("account:ada", "more winter photos", [5, 25, 50])
    assert shown["expected"] == opened["expected"]
    assert [(made["action"], made["weight"], made["state"]) for made in shown["decisions"]] == [("start", 5, "open")]
    assert shown["evidence"] == []


def test_a_rollout_is_paused_resumed_and_aborted_and_what_waits_opens(api: Api, second: int, third: int) -> None:
    opened = post(api, "", {"version": second}).json()
    queued = post(api, "", {"version": third}).json()
    assert (queued["state"], queued["canary"], queued["rollout"]) == ("queued", 2, opened["rollout"] + 1)
    assert get(api, f"/{queued['rollout']}").json()["steps"] == [5, 25, 50]
    assert post(api, "/pause", {"reason": "an incident elsewhere"}).json()["state"] == "open"
    assert get(api, f"/{opened['rollout']}").json()["paused_at"] is not None
    assert post(api, "/resume").json()["state"] == "open"
    aborted = post(api, "/abort", {"rollout": opened["rollout"]}).json()
    assert (aborted["state"], aborted["canary"]) == ("aborted", 3)
    assert get(api, f"/{opened['rollout']}").json()["expected"] is None
    reasons = {made["action"]: made["reason"] for made in get(api, f"/{opened['rollout']}").json()["decisions"]}
    assert reasons == {"start": "by hand", "pause": "an incident elsewhere", "resume": "by hand", "aborted": "by hand"}


def test_a_request_that_names_its_rollout_touches_no_other(api: Api, second: int, third: int) -> None:
    opened = post(api, "", {"version": second}).json()["rollout"]
    queued = post(api, "", {"version": third}).json()["rollout"]
    for again in (1, 2):
        assert post(api, "/promote", {"rollout": opened}).json()["state"] == "promoted", again
    for route in ("/pause", "/resume", "/rollback", "/abort"):
        refused = post(api, route, {"rollout": opened})
        assert (refused.status_code, refused.json()["type"]) == (409, "urn:canari:problem:not-possible-now"), route
    assert get(api, f"/{queued}").json()["state"] == "open"
    assert post(api, "/promote", {"rollout": queued + 1}).status_code == 409


def test_rollouts_are_listed_by_state_and_version_with_their_decisions(api: Api, second: int, third: int) -> None:
    post(api, "", {"version": second})
    post(api, "/abort")
    post(api, "", {"version": third})
    found = get(api).json()
    assert [(row["canary"], row["state"], row["mode"]) for row in found["rollouts"]] == [
        (3, "open", "judged"),
        (2, "aborted", "judged"),
        (1, "promoted", "manual"),
    ]
    assert found["decisions"][0]["canary"] == 3
    some = get(api, state=["open", "aborted"], limit=1).json()
    assert ([row["canary"] for row in some["rollouts"]], len(some["decisions"])) == ([3], 1)
    assert {row["canary"] for row in get(api, version=second).json()["decisions"]} == {2}
    assert get(api, state="unknown").status_code == 422


def test_what_is_asked_of_no_rollout_or_in_contradiction_is_told(api: Api, second: int) -> None:
    assert post(api, "", {"version": second, "weight": 5, "reason": "why"}).status_code == 422
    assert post(api, "", {"version": 1}).json()["detail"].startswith("Version 1 of cats_dogs is its stable version")
    assert post(api, "/pause").json()["detail"] == "No rollout of cats_dogs is open: there is nothing to pause."
    post(api, "", {"version": second, "weight": 5})
    assert "is steered by hand" in post(api, "/pause").json()["detail"]
    for number in (999_999, 2**31 - 1):
        assert get(api, f"/{number}").json()["type"] == "urn:canari:problem:unknown-rollout"
    assert get(api, f"/{2**31}").status_code == 422
    first = get(api).json()["rollouts"][-1]["id"]
    elsewhere = api.client.get(f"/api/drift/rollouts/{first}", headers=api.token(Scope.OPERATE))
    assert (elsewhere.status_code, elsewhere.json()["detail"][:22]) == (404, "Drift has no rollout " + str(first)[:1])


def test_looking_and_steering_need_the_scope_operate(api: Api, second: int) -> None:
    opened = post(api, "", {"version": second}).json()["rollout"]
    for token in (api.token(Scope.PREDICT), api.token(Scope.OPERATE, models=("drift",))):
        for route in ("", f"/{opened}", f"/{opened}/disagreements"):
            assert api.client.get(f"/api/cats_dogs/rollouts{route}", headers=token).status_code == 403
        for route in ("/pause", "/resume", "/abort"):
            assert api.client.post(f"/api/cats_dogs/rollout{route}", headers=token).status_code == 403
    stolen = api.client.post(
        "/api/drift/rollout/abort", json={"rollout": opened}, headers=api.token(Scope.OPERATE, models=("drift",))
    )
    assert stolen.status_code == 409


def test_what_a_shadow_answered_otherwise_is_shown(api: Api, cats_dogs: ModelSpec, second: int) -> None:
    engine, document = api.context.engine, cats_dogs.document()
    shadowed = {**document, "canary": {**document["canary"], "steps": ["shadow", 50]}}
    versions.put_spec(engine, ModelSpec.model_validate(shadowed))
    opened = post(api, "", {"version": second}).json()["rollout"]
    answers: list[tuple[int, dict[str, Any]]] = [(1, {}), (2, {"label": "dog", "kind": RequestKind.SHADOW})]
    for request, (version, said) in product(("a", "b"), answers):
        made = prediction(rollout=opened, recorder=uuid4(), request_id=request, **said)
        predictions.append(engine, "cats_dogs", version, [made])
    found = get(api, f"/{opened}/disagreements").json()["disagreements"]
    assert [(one["request_id"], one["stable"]["label"], one["shadow"]["label"]) for one in found] == [
        ("b", "cat", "dog"),
        ("a", "cat", "dog"),
    ]
    assert (found[0]["stable"]["score"], found[0]["input_sha256"]) == (0.75, "a" * 64)
    assert get(api, f"/{opened}/disagreements", limit=1).json()["disagreements"] == found[:1]
    assert get(api, f"/{opened}/disagreements", limit=501).status_code == 422
    assert get(api, "/999999/disagreements").json()["type"] == "urn:canari:problem:unknown-rollout"
