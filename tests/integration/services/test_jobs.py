"""Asking for jobs, and hearing of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from canari.store import jobs
from canari.tokens import Scope
from canari.types import JobKind, JobState
from tests.integration.services.conftest import Api


def post(api: Api, route: str, body: dict[str, Any] | None = None, **headers: str) -> httpx.Response:
    token = api.token(Scope.OPERATE, subject="account:ada")
    answer: httpx.Response = api.client.post(f"/api/cats_dogs/{route}", json=body, headers=token | headers)
    return answer


def get(api: Api, route: str = "", **parameters: Any) -> httpx.Response:
    headers = api.token(Scope.OPERATE, subject="account:ada")
    answer: httpx.Response = api.client.get(f"/api/cats_dogs/jobs{route}", params=parameters, headers=headers)
    return answer


def test_a_job_that_is_asked_for_waits_and_is_told_where_location_says(api: Api) -> None:
    asked = post(api, "jobs", {"kind": "evaluate", "reason": "a campaign began", "arguments": {"since": "7d"}})
    assert asked.status_code == 202
    shown = api.client.get(asked.headers["location"], headers=api.token(Scope.OPERATE)).json()
    assert shown == asked.json()
    assert (shown["kind"], shown["model"], shown["state"]) == ("evaluate", "cats_dogs", "queued")
    assert (shown["asked_by"], shown["reason"]) == ("account:ada", "a campaign began")
    assert (shown["arguments"], shown["progress"], shown["result"]) == ({"since": "7d"}, None, {})
    assert shown["key"].startswith("evaluate:cats_dogs:hand:")
    assert jobs.waiting(api.context.engine) == {JobKind.EVALUATE}


@pytest.mark.parametrize(
    ("route", "body", "arguments"),
    [
        ("retrain", None, {"options": {}, "seed": 0}),
        ("retrain", {"options": {"epochs": "3"}, "tune": 4}, {"options": {"epochs": "3"}, "seed": 0, "tune": 4}),
        ("finetune", None, {"options": {"base_weights": "imagenet"}, "seed": 0}),
        (
            "finetune",
            {"seed": 2, "options": {"epochs": "3"}},
            {"options": {"epochs": "3", "base_weights": "imagenet"}, "seed": 2},
        ),
        ("generate", {"count": 200, "seed": 5}, {"options": {}, "seed": 5, "generate": 200}),
    ],
)
def test_the_short_forms_are_trainings_with_their_options(
    api: Api, route: str, body: dict[str, Any] | None, arguments: dict[str, Any]
) -> None:
    asked = post(api, route, body)
    assert asked.status_code == 202
    shown = asked.json()
    assert (shown["kind"], shown["arguments"], shown["reason"]) == ("retrain", arguments, "by hand")


def test_a_request_that_is_sent_again_with_its_key_asks_for_nothing_new(api: Api) -> None:
    key = {"Idempotency-Key": "4f2a9c"}
    first, second = (post(api, "retrain", {"seed": 1}, **key) for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 200)
    assert first.json() == second.json()
    assert first.headers["location"] == second.headers["location"]
    other = post(api, "retrain", {"seed": 2}, **key)
    assert (other.status_code, other.json()["type"]) == (422, "urn:canari:problem:idempotency-key-reused")
    assert post(api, "retrain", {"seed": 1}).status_code == 202
    assert len(jobs.newest(api.context.engine)) == 2


def test_retention_is_of_all_models_and_listed_with_each(api: Api) -> None:
    asked = post(api, "jobs", {"kind": "retention"}).json()
    assert (asked["model"], asked["key"][:15]) == (None, "retention:hand:")
    assert [job["id"] for job in get(api).json()["jobs"]] == [asked["id"]]


def test_jobs_are_listed_newest_first_by_kind_and_state_a_page_at_a_time(api: Api) -> None:
    for kind in ("evaluate", "retrain", "evaluate"):
        post(api, "jobs", {"kind": kind})
    jobs.ask(api.context.engine, JobKind.RETRAIN, "else", model="drift", asked_by="a test", reason="to see")
    found = get(api).json()
    assert ([job["kind"] for job in found["jobs"]], found["next"]) == (["evaluate", "retrain", "evaluate"], None)
    page = get(api, limit=2).json()
    assert page["next"] == page["jobs"][-1]["id"]
    assert get(api, before=page["next"]).json()["jobs"] == found["jobs"][2:]
    assert [job["kind"] for job in get(api, kind="retrain").json()["jobs"]] == ["retrain"]
    assert get(api, state="running").json()["jobs"] == []
    assert get(api, state="asleep").status_code == 422


def test_a_jobs_progress_and_outcome_are_told(api: Api) -> None:
    number = post(api, "retrain").json()["id"]
    engine = api.context.engine
    job = jobs.take(engine, JobKind.RETRAIN, holder="a test", lease=timedelta(minutes=1))
    assert job is not None
    place = {"stage": "train", "done": 3, "total": 10, "figures": {"accuracy": 0.5}}
    jobs.renew(engine, job, lease=timedelta(minutes=1), progress={**place, "facts": {"version": 2}})
    shown = get(api, f"/{number}").json()
    assert (shown["state"], shown["progress"], shown["attempts"]) == ("running", place, 1)
    jobs.finish(engine, job, JobState.REFUSED, result={"samples": 3}, error="nothing new to learn from")
    shown = get(api, f"/{number}").json()
    assert (shown["state"], shown["error"], shown["result"]) == ("refused", "nothing new to learn from", {"samples": 3})


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("jobs", {"kind": "sleep"}),
        ("jobs", {"kind": "evaluate", "arguments": {"since": "yesterday"}}),
        ("jobs", {"kind": "evaluate", "arguments": {"options": {}}}),
        ("jobs", {"kind": "retention", "arguments": {"seed": 1}}),
        ("retrain", {"tune": 0}),
        ("retrain", {"options": {"epochs": 3}}),
        ("generate", {"count": 1}),
        ("generate", {}),
    ],
)
def test_what_is_no_such_job_is_refused_with_what_is_wrong(api: Api, route: str, body: dict[str, Any]) -> None:
    refused = post(api, route, body)
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:canari:problem:invalid-request")
    assert jobs.newest(api.context.engine) == []


def test_what_is_not_there_or_anothers_is_not_found(api: Api) -> None:
    engine = api.context.engine
    other, _ = jobs.ask(engine, JobKind.RETRAIN, "else", model="drift", asked_by="a test", reason="to see")
    for number in (other.id, 999_999, 2**63 - 1):
        absent = get(api, f"/{number}")
        assert (absent.status_code, absent.json()["type"]) == (404, "urn:canari:problem:unknown-job")
    assert get(api, f"/{2**63}").status_code == 422
    headers = api.token(Scope.OPERATE)
    assert api.client.post("/api/birds/retrain", headers=headers).json()["type"] == "urn:canari:problem:unknown-model"


def test_jobs_need_the_scope_operate_for_the_model(api: Api) -> None:
    number = post(api, "retrain").json()["id"]
    routes = [("POST", "jobs"), ("POST", "retrain"), ("POST", "finetune"), ("GET", "jobs"), ("GET", f"jobs/{number}")]
    for method, route in routes:
        asked = {"json": {"kind": "retrain"}} if route == "jobs" and method == "POST" else {}
        assert api.client.request(method, f"/api/cats_dogs/{route}", **asked).status_code == 401
        for token in (api.token(Scope.PREDICT), api.token(Scope.OPERATE, models=("drift",))):
            assert api.client.request(method, f"/api/cats_dogs/{route}", headers=token, **asked).status_code == 403
