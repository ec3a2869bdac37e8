from typing import Any

import httpx
import pytest

from canari.spec import ModelSpec
from canari.store import rollouts, versions
from canari.tokens import Scope
from tests.integration.services.conftest import Api


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
    assert rollouts.desired(api.context.engine)["cats_dogs"] == (2, None)
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
    assert rollouts.desired(api.context.engine)["cats_dogs"] == (1, None)
