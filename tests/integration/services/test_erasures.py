"""Erasing through the API: by an administrator, and by a person themselves."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from canari import erasure
from canari.ids import new_id
from canari.store import erasures, feedback, predictions
from canari.tokens import SESSION_COOKIE, Scope
from canari.types import Feedback
from tests.integration.services.conftest import Api
from tests.integration.store.samples_of import id_at, prediction

ADA = "account:ada"


def left_by(api: Api, subject: str) -> None:
    row = prediction(subject=subject, recorder=uuid4(), id=id_at(datetime.now(UTC) - timedelta(seconds=1)))
    predictions.append(api.context.engine, "cats_dogs", 1, [row])
    feedback.put(api.context.engine, Feedback(row.id, "cats_dogs", subject, right=True, label=None, comment="me"))


def kept_of(api: Api, subject: str) -> int:
    return len(predictions.page(api.context.engine, "cats_dogs", subject=subject))


def test_an_administrator_erases_a_person_and_gets_the_certificate(api: Api) -> None:
    left_by(api, ADA)
    admin = api.token(Scope.ADMIN, subject="account:root")
    begun = api.client.post("/api/erasures", json={"subject": ADA, "reason": "letter 12"}, headers=admin)
    assert begun.status_code == 202
    assert begun.json()["state"] == "open"
    shown = api.client.get(begun.headers["location"], headers=admin).json()
    assert (shown["state"], shown["requested_by"]) == ("done", "account:root")
    assert shown["certificate"]["counts"] == {"predictions": 1, "feedback": 1}
    erasure.verify(api.context.key.public_key(), shown["certificate"])
    assert kept_of(api, ADA) == 0
    listed = api.client.get("/api/erasures", headers=admin).json()["erasures"]
    assert [one["id"] for one in listed] == [shown["id"]]
    assert ADA not in json.dumps(listed)
    assert api.client.get("/api/erasures?open=true", headers=admin).json() == {"erasures": []}


def test_a_person_erases_themselves_and_sees_how_far_it_is(api: Api) -> None:
    left_by(api, ADA)
    left_by(api, "account:bob")
    mine, others = api.token(Scope.PREDICT, subject=ADA), api.token(Scope.PREDICT, subject="account:bob")
    begun = api.client.delete("/api/me/data", headers=mine)
    assert begun.status_code == 202
    where = begun.headers["location"]
    shown = api.client.get(where, headers=mine).json()
    assert (shown["state"], shown["requested_by"]) == ("done", "the person")
    assert api.client.get(where, headers=others).status_code == 403
    assert (kept_of(api, ADA), kept_of(api, "account:bob")) == (0, 1)


def test_a_visitor_is_erased_by_their_cookie_which_ends(api: Api) -> None:
    api.client.post("/api/session/anonymous")
    subject = api.client.get("/api/me").json()["subject"]
    left_by(api, subject)
    assert api.client.delete("/api/me/data").status_code == 202
    assert SESSION_COOKIE not in api.client.cookies
    assert kept_of(api, subject) == 0


def test_another_sites_page_cannot_erase_anyone(api: Api) -> None:
    api.client.post("/api/session/anonymous")
    answer = api.client.delete("/api/me/data", headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 403
    assert erasures.newest(api.context.engine) == []


@pytest.mark.parametrize("scope", [Scope.OPERATE, Scope.CURATE, Scope.RECORD, Scope.PREDICT])
def test_only_an_administrator_of_all_models_erases_others_or_sees_who_was(api: Api, scope: Scope) -> None:
    wanted = {"subject": ADA}
    one_model = api.token(Scope.ADMIN, models=("cats_dogs",))
    for bearer, status in (({}, 401), (api.token(scope), 403), (one_model, 403)):
        assert api.client.post("/api/erasures", json=wanted, headers=bearer).status_code == status
        assert api.client.get("/api/erasures", headers=bearer).status_code == status
        assert api.client.get(f"/api/erasures/{new_id()}", headers=bearer).status_code == status
    assert api.client.delete("/api/me/data").status_code == 401
    assert erasures.newest(api.context.engine) == []


def test_what_is_wrong_is_told(api: Api) -> None:
    admin = api.token(Scope.ADMIN)
    for wanted in ({}, {"subject": ""}, {"subject": "erased"}, {"subject": "nul\0"}, {"subject": ADA, "more": 1}):
        answer = api.client.post("/api/erasures", json=wanted, headers=admin)
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert api.client.get(f"/api/erasures/{new_id()}", headers=admin).status_code == 404
