"""The course of a rollout over HTTP, from what a real database keeps."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, text

from canari.errors import CanariError
from canari.policy import Verdict
from canari.store import courses, rollouts
from canari.tokens import Scope
from services.feedback.rollout_course import Courses
from tests.integration.played import BAD, GOOD, Played
from tests.integration.services.conftest import Api


@pytest.fixture
def played(api: Api) -> Played:
    with api.context.engine.begin() as connection:
        connection.execute(text("DELETE FROM versions WHERE model = 'drift'"))
    return Played(api.context.engine)


def get(api: Api, number: int, what: str, model: str = "drift") -> httpx.Response:
    answer: httpx.Response = api.client.get(
        f"/api/{model}/rollouts/{number}{what}", headers=api.token(Scope.OPERATE, subject="account:ada")
    )
    return answer


def application(api: Api) -> FastAPI:
    app = api.client.app
    assert isinstance(app, FastAPI)
    return app


def test_a_course_has_the_rollout_its_judgement_and_each_metrics_points(api: Api, played: Played) -> None:
    played.look(**GOOD)
    played.until(Verdict.ROLL_BACK, **BAD)
    found: dict[str, Any] = get(api, played.number, "/course").json()
    assert (found["rollout"]["id"], found["rollout"]["state"], found["steps"]) == (
        played.number,
        "rolled_back",
        [20, 50],
    )
    assert (found["judgement"]["verdict"], found["judgement"]["metric"], found["tick"]) == (
        "roll_back",
        "errors",
        played.now,
    )
    errors, satisfaction = found["metrics"]
    assert (errors["metric"], errors["margin"], errors["required"]) == ("errors", 0.02, True)
    assert errors["points"][-1]["canary_bad"] == found["judgement"]["metrics"]["errors"]["canary_bad"]
    assert satisfaction["points"][-1]["at"] == played.now
    shown = get(api, played.number, "").json()
    assert shown["judgement"] == found["judgement"]


def test_many_who_watch_one_rollout_have_it_read_once(api: Api, played: Played) -> None:
    played.look(**GOOD)
    read: list[int] = []

    def view(engine: Engine, model: str, number: int) -> courses.View:
        read.append(number)
        return courses.view(engine, model, number)

    watched = Courses(api.context.engine, view=view)
    for _ in range(5):
        assert watched.view("drift", played.number).tick == played.now
    assert read == [played.number]
    others = list(range(played.number + 1, played.number + 100))
    for number in others:
        with pytest.raises(CanariError, match="there is no rollout"):
            watched.view("drift", number)
    watched.view("drift", played.number)
    assert read == [played.number, *others, played.number]


def test_a_rollout_is_judged_again(api: Api, played: Played) -> None:
    played.until(Verdict.ROLL_BACK, **BAD)
    found = get(api, played.number, "/replay").json()
    assert (found["rollout"], found["same"]) == (played.number, True)
    assert [(one["action"], one["recorded"], one["recomputed"]) for one in found["compared"]] == [
        ("start", None, None),
        ("rolled_back", "roll_back", "roll_back"),
    ]
    with api.context.engine.begin() as connection:
        connection.execute(text("UPDATE evidence SET bad = 0"))
    assert get(api, played.number, "/replay").json()["same"] is False


def test_what_is_too_much_for_a_request_is_refused_with_what_to_do(api: Api, played: Played) -> None:
    played.look(**GOOD)
    application(api).state.courses = Courses(api.context.engine, most_rows=3)
    refused = get(api, played.number, "/replay")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:canari:problem:too-much-evidence")
    assert f"`canari rollout replay {played.number}`" in refused.json()["detail"]


def test_one_rollout_at_a_time_is_judged_again(api: Api, played: Played) -> None:
    played.look(**GOOD)
    begun, go_on = threading.Event(), threading.Event()

    def slow(engine: Engine, model: str, number: int) -> courses.Replayed:
        begun.set()
        go_on.wait(10)
        return courses.judge_again(engine, model, number)

    application(api).state.courses = Courses(api.context.engine, judge_again=slow)
    answers: list[int] = []
    first = threading.Thread(target=lambda: answers.append(get(api, played.number, "/replay").status_code))
    first.start()
    assert begun.wait(10)
    second = get(api, played.number, "/replay")
    go_on.set()
    first.join()
    assert (answers, second.status_code, second.headers["retry-after"]) == ([200], 429, "10")
    assert get(api, played.number, "/replay").status_code == 200


@pytest.mark.usefixtures("played")
def test_a_rollout_steered_by_hand_has_a_course_without_metrics(api: Api) -> None:
    rollouts.abort(api.context.engine, "drift", actor="ada", reason="it is over")
    by_hand = rollouts.deploy(api.context.engine, "drift", 2, weight=30, actor="ada")
    assert by_hand is not None
    found = get(api, by_hand.id, "/course").json()
    assert (found["steps"], found["metrics"], found["judgement"], found["rollout"]["weight"]) == ([], [], None, 30)


def test_a_course_needs_the_scope_operate_and_a_rollout_of_the_model(api: Api, played: Played) -> None:
    for what in ("/course", "/replay"):
        route = f"/api/drift/rollouts/{played.number}{what}"
        assert api.client.get(route).status_code == 401
        for token in (api.token(Scope.PREDICT), api.token(Scope.OPERATE, models=("cats_dogs",))):
            assert api.client.get(route, headers=token).status_code == 403
        for number, model in ((played.number, "cats_dogs"), (999_999, "drift")):
            answer = get(api, number, what, model)
            assert (answer.status_code, answer.json()["type"]) == (404, "urn:canari:problem:unknown-rollout")
