from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from canari.store import access
from canari.tokens import SESSION_COOKIE, Scope
from services.feedback.app import create_app
from tests.integration.services.conftest import Api

ADA = {"name": "ada", "password": "correct horse"}


@pytest.fixture
def ada(api: Api) -> Api:
    access.put_account(api.context.engine, **ADA, scopes=[Scope.OPERATE, Scope.PREDICT])
    return api


def test_nobody_in_particular_is_a_visitor_without_a_name(api: Api) -> None:
    assert api.client.get("/api/me").json() == {
        "subject": None,
        "visitor": True,
        "scopes": [],
        "models": [],
        "expires_at": None,
    }


def test_logging_in_opens_what_the_account_may_do_and_logging_out_ends_it_everywhere(ada: Api) -> None:
    assert ada.client.get("/api/cats_dogs/rollouts").status_code == 401
    answer = ada.client.post("/api/session", json=ADA)
    assert (answer.status_code, answer.json()["subject"], answer.json()["scopes"]) == (
        200,
        "account:ada",
        ["operate", "predict"],
    )
    assert ada.client.get("/api/cats_dogs/rollouts").status_code == 200
    stolen = ada.client.cookies[SESSION_COOKIE]
    assert ada.client.delete("/api/session").status_code == 204
    assert SESSION_COOKIE not in ada.client.cookies
    assert ada.client.get("/api/me").json()["subject"] is None
    again = ada.another().get("/api/me", headers={"Authorization": f"Bearer {stolen}"})
    assert (again.status_code, again.json()["detail"]) == (401, "The token has been revoked: ask for a new one.")
    assert len(access.revoked(ada.context.engine)) == 1


def test_the_cookie_is_hidden_from_scripts_and_other_sites_and_secure_where_set(ada: Api) -> None:
    plain = ada.client.post("/api/session", json=ADA).headers["set-cookie"]
    assert {"HttpOnly", "SameSite=lax", "Path=/", "Max-Age=43200"} <= set(plain.split("; "))
    assert "Secure" not in plain
    context = replace(ada.context, secure_cookies=True)
    with TestClient(create_app(context)) as client:
        assert "Secure" in client.post("/api/session", json=ADA).headers["set-cookie"].split("; ")


def test_a_wrong_password_and_an_unknown_name_are_told_the_same(ada: Api) -> None:
    wrong = ada.client.post("/api/session", json={**ADA, "password": "wrong horse"})
    unknown = ada.client.post("/api/session", json={**ADA, "name": "bob"})
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.json()["detail"] == unknown.json()["detail"]
    assert "set-cookie" not in wrong.headers


def test_after_five_failures_a_name_has_to_wait_and_others_do_not(ada: Api) -> None:
    for _ in range(5):
        assert ada.client.post("/api/session", json={**ADA, "password": "wrong"}).status_code == 401
    refused = ada.client.post("/api/session", json=ADA)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 301
    assert ada.client.post("/api/session", json={**ADA, "name": "bob"}).status_code == 401


def test_a_visitor_keeps_one_name_and_it_opens_only_what_is_open_to_all(api: Api) -> None:
    first = api.client.post("/api/session/anonymous")
    assert (first.status_code, first.json()["visitor"], first.json()["models"]) == (201, True, [])
    assert first.json()["subject"].startswith("visitor:")
    again = api.client.post("/api/session/anonymous")
    assert (again.status_code, again.json()) == (200, first.json())
    assert api.client.get("/api/cats_dogs/predictions").status_code == 200
    assert api.client.get("/api/drift/predictions").status_code == 403
    assert api.client.get("/api/cats_dogs/rollouts").status_code == 403


def test_a_visitor_with_a_spoilt_cookie_gets_a_new_one(api: Api) -> None:
    spoilt = {"Cookie": f"{SESSION_COOKIE}=spoilt"}
    assert api.client.get("/api/me", headers=spoilt).status_code == 401
    assert api.client.post("/api/session/anonymous", headers=spoilt).status_code == 201


def test_logging_out_without_a_session_is_no_error(api: Api) -> None:
    assert api.client.delete("/api/session").status_code == 204
    api.client.post("/api/session/anonymous")
    assert api.client.delete("/api/session").status_code == 204
    assert SESSION_COOKIE not in api.client.cookies


def test_another_site_can_neither_log_in_nor_out(ada: Api) -> None:
    elsewhere = {"Sec-Fetch-Site": "cross-site"}
    assert ada.client.post("/api/session", json=ADA, headers=elsewhere).status_code == 403
    assert ada.client.delete("/api/session", headers=elsewhere).status_code == 403
    assert ada.client.post("/api/session/anonymous", headers=elsewhere).status_code == 403


def test_an_authorization_header_that_is_no_bearer_token_is_refused_with_the_form_it_needs(api: Api) -> None:
    answer = api.client.get("/api/me", headers={"Authorization": "Basic YTpi"})
    assert (answer.status_code, answer.json()["detail"]) == (401, "The Authorization header must read: Bearer TOKEN.")
    assert answer.headers["www-authenticate"].startswith("Bearer")
