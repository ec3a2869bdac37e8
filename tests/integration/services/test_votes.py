from uuid import uuid4

import pytest
from sqlalchemy import text

from canari.ids import new_id
from canari.store import access, predictions
from canari.tokens import Scope
from tests.integration.services.conftest import Api
from tests.integration.store.samples_of import prediction

URL = "/api/cats_dogs/feedback"


def rows(api: Api) -> list[tuple[object, ...]]:
    with api.context.engine.connect() as connection:
        found = connection.execute(text('SELECT subject, "right", label, comment FROM feedback ORDER BY id'))
        return [tuple(row) for row in found]


def test_a_vote_is_kept_once_and_a_changed_mind_replaces_it(api: Api) -> None:
    vote = {"prediction_id": str(new_id()), "right": True}
    first = api.client.post(URL, json=vote)
    assert (first.status_code, first.json()) == (
        201,
        {**vote, "outcome": "created", "label": None, "comment": None},
    )
    again = api.client.post(URL, json=vote)
    assert (again.status_code, again.json()["outcome"]) == (200, "same")
    other = api.client.post(URL, json={**vote, "right": False, "label": "dog", "comment": "de dos"})
    assert (other.status_code, other.json()["outcome"]) == (200, "changed")
    assert rows(api) == [(f"anonymous:{vote['prediction_id']}", False, "dog", "de dos")]


def test_visitors_without_a_session_share_one_vote_per_prediction_and_those_with_one_have_their_own(api: Api) -> None:
    vote = {"prediction_id": str(new_id()), "right": True}
    for client in (api.client, api.another()):
        client.post(URL, json=vote)
    visitors = [api.another(), api.another()]
    for visitor in visitors:
        visitor.post("/api/session/anonymous")
        assert visitor.post(URL, json=vote).status_code == 201
    subjects = [visitor.get("/api/me").json()["subject"] for visitor in visitors]
    assert [row[0] for row in rows(api)] == [f"anonymous:{vote['prediction_id']}", *subjects]


def test_a_label_the_model_does_not_know_is_refused_with_those_it_knows(api: Api) -> None:
    answer = api.client.post(URL, json={"prediction_id": str(new_id()), "right": False, "label": "bird"})
    assert (answer.status_code, answer.json()["labels"]) == (422, ["cat", "dog"])
    assert "cat, dog" in answer.json()["detail"]
    assert rows(api) == []


def test_an_unknown_model_is_refused_with_those_there_are(api: Api) -> None:
    answer = api.client.post("/api/birds/feedback", json={"prediction_id": str(new_id()), "right": True})
    assert answer.status_code == 404
    assert answer.json()["detail"] == "There is no model 'birds'; the models are: cats_dogs, drift."


def test_a_prediction_of_another_model_is_not_this_ones(api: Api) -> None:
    row = prediction()
    predictions.append(api.context.engine, "drift", 1, [row])
    answer = api.client.post(URL, json={"prediction_id": str(row.id), "right": True})
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:canari:problem:unknown-prediction")


def test_a_model_closed_to_visitors_asks_for_the_scope(api: Api) -> None:
    vote = {"prediction_id": str(new_id()), "right": True}
    url = "/api/drift/feedback"
    assert api.client.post(url, json=vote).status_code == 401
    assert api.client.post(url, json=vote, headers=api.token(Scope.PREDICT)).status_code == 403
    assert api.client.post(url, json=vote, headers=api.token(Scope.FEEDBACK, models=("m",))).status_code == 403
    assert api.client.post(url, json=vote, headers=api.token(Scope.FEEDBACK)).status_code == 201
    visitor = api.another()
    visitor.post("/api/session/anonymous")
    assert visitor.post(url, json=vote).status_code == 403


def test_a_revoked_token_is_refused(api: Api) -> None:
    token, identity = api.issue(Scope.FEEDBACK)
    headers = {"Authorization": f"Bearer {token}"}
    vote = {"prediction_id": str(new_id()), "right": True}
    assert api.client.post(URL, json=vote, headers=headers).status_code == 201
    access.add_token(api.context.engine, identity)
    access.revoke(api.context.engine, identity.token_id)
    api.context.forget_revocations()
    answer = api.client.post(URL, json=vote, headers=headers)
    assert (answer.status_code, answer.json()["detail"]) == (401, "The token has been revoked: ask for a new one.")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"right": True}, "body.prediction_id"),
        ({"prediction_id": "42", "right": True}, "body.prediction_id"),
        ({"prediction_id": str(uuid4()), "right": "perhaps"}, "body.right"),
        ({"prediction_id": str(uuid4()), "right": True, "comment": "x" * 2001}, "body.comment"),
        ({"prediction_id": str(uuid4()), "right": True, "comment": "nul\0"}, "body.comment"),
        ({"prediction_id": str(uuid4()), "right": True, "lable": "cat"}, "body.lable"),
    ],
)
def test_a_wrong_vote_is_refused_with_the_field_at_fault(api: Api, body: dict[str, object], field: str) -> None:
    answer = api.client.post(URL, json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert [fault["field"] for fault in answer.json()["errors"]] == [field]


def test_a_form_or_a_huge_body_is_refused_with_what_is_accepted(api: Api) -> None:
    form = api.client.post(URL, data={"right": "yes"})
    assert (form.status_code, form.json()["type"]) == (415, "urn:canari:problem:unsupported-media-type")
    assert "application/json" in form.json()["detail"]
    huge = api.client.post(URL, json={"comment": "x" * 100_000})
    assert (huge.status_code, huge.headers["content-type"]) == (413, "application/problem+json")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 201),
        ({"Origin": "http://testserver"}, 201),
        ({}, 201),
    ],
)
def test_another_sites_page_cannot_vote_with_a_visitors_cookie(api: Api, headers: dict[str, str], status: int) -> None:
    api.client.post("/api/session/anonymous")
    answer = api.client.post(URL, json={"prediction_id": str(new_id()), "right": True}, headers=headers)
    assert answer.status_code == status
