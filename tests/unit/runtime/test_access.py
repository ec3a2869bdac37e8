from __future__ import annotations

from datetime import timedelta

import pytest

from canari.errors import Problem
from canari.runtime.access import identify, route_of
from canari.spec import ModelSpec
from canari.tokens import Scope, Verifier, issue
from canari.types import RequestKind
from tests.unit.runtime.kit import KEY, PUBLIC_KEY, photo_spec, token

OPEN = photo_spec()
CLOSED = photo_spec(access={"anonymous": False})


def who(spec: ModelSpec, **headers: str) -> str | None:
    return identify(spec, Verifier(PUBLIC_KEY), {name.encode(): value.encode() for name, value in headers.items()})


def refusal(spec: ModelSpec, **headers: str) -> Problem:
    with pytest.raises(Problem) as caught:
        who(spec, **headers)
    return caught.value


def test_a_token_names_the_subject() -> None:
    assert who(CLOSED, authorization=f"Bearer {token(Scope.PREDICT)}") == "person"


def test_a_session_cookie_names_the_subject_among_other_cookies() -> None:
    assert who(CLOSED, cookie=f"theme=dark; canari_session={token(Scope.PREDICT)}; a=b") == "person"


def test_a_visitor_is_admitted_where_the_model_admits_visitors() -> None:
    assert who(OPEN) is None
    assert who(OPEN, cookie="theme=dark") is None


def test_a_visitors_session_opens_only_the_models_that_admit_visitors() -> None:
    session, visitor = issue(KEY, subject="visitor:1", scopes=[Scope.PREDICT], models=(), lifetime=timedelta(hours=1))
    assert who(OPEN, cookie=f"canari_session={session}") == visitor.subject
    assert refusal(CLOSED, cookie=f"canari_session={session}").status == 403


def test_a_visitor_is_told_to_show_a_token_where_one_is_needed() -> None:
    problem = refusal(CLOSED)
    assert problem.status == 401
    assert problem.headers == {"WWW-Authenticate": 'Bearer realm="canari"'}


@pytest.mark.parametrize("wrong", ["Bearer nonsense", "Basic abc", f"Bearer {token(Scope.PREDICT, hours=-1)}"])
def test_a_wrong_token_is_refused_even_where_visitors_are_admitted(wrong: str) -> None:
    assert refusal(OPEN, authorization=wrong).status == 401


def test_a_token_without_the_scope_or_for_another_model_is_forbidden() -> None:
    assert refusal(OPEN, authorization=f"Bearer {token(Scope.FEEDBACK)}").status == 403
    assert refusal(OPEN, authorization=f"Bearer {token(Scope.PREDICT, models=('other',))}").status == 403
    assert refusal(OPEN, authorization=f"Bearer {token(Scope.RECORD, models=('colours',), version=3)}").status == 403


def test_a_revoked_token_is_refused() -> None:
    verifier, text = Verifier(PUBLIC_KEY), token(Scope.PREDICT)
    headers = {b"authorization": f"Bearer {text}".encode()}
    assert identify(OPEN, verifier, headers) == "person"
    verifier.revoked = frozenset({verifier.verify(text).token_id})
    with pytest.raises(Problem, match="revoked"):
        identify(OPEN, verifier, headers)


def test_without_a_public_key_tokens_mean_nothing() -> None:
    assert identify(OPEN, None, {b"authorization": b"Bearer nonsense"}) is None


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        (b"7.2.3", (RequestKind.ARM, 7, 2)),
        (b"7.2.4", (RequestKind.SHADOW, 7, 2)),
        (b"0.0.3", (RequestKind.ARM, 0, 0)),
        (b"pin", (RequestKind.PIN, 0, 0)),
        (b"", (RequestKind.DIRECT, 0, 0)),
        (None, (RequestKind.DIRECT, 0, 0)),
        (b"7.2", (RequestKind.DIRECT, 0, 0)),
        (b"\xff", (RequestKind.DIRECT, 0, 0)),
    ],
)
def test_the_gateways_stamp_says_how_a_request_came(
    stamp: bytes | None, expected: tuple[RequestKind, int, int]
) -> None:
    assert route_of(stamp, 3) == expected
