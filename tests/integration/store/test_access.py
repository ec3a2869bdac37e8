from datetime import timedelta

import pytest
from argon2 import PasswordHasher
from sqlalchemy import text

from canari.errors import CanariError
from canari.store import access
from canari.store.access import Account
from canari.tokens import Identity, Scope, issue, new_key
from tests.conftest import Database

KEY = new_key()


def identity(subject: str = "ci", lifetime: timedelta = timedelta(hours=1)) -> Identity:
    return issue(KEY, subject=subject, scopes=[Scope.PREDICT], models=["m"], lifetime=lifetime)[1]


def test_a_token_given_out_is_listed_until_it_expires(database: Database) -> None:
    given, gone = identity(), identity(lifetime=timedelta(hours=-1))
    access.add_token(database.engine, given, note="for the build")
    access.add_token(database.engine, gone)
    [token] = access.tokens(database.engine)
    assert (token.identity, token.note, token.revoked_at) == (given, "for the build", None)


def test_a_revoked_token_is_on_the_list_until_it_would_have_ended_anyway(database: Database) -> None:
    good, bad, gone = identity(), identity(), identity(lifetime=timedelta(hours=-1))
    for each in (good, bad, gone):
        access.add_token(database.engine, each)
    access.revoke(database.engine, bad.token_id)
    access.revoke(database.engine, gone.token_id)
    assert access.revoked(database.engine) == [bad.token_id]
    first = next(t.revoked_at for t in access.tokens(database.engine) if t.identity == bad)
    access.revoke(database.engine, bad.token_id)
    assert next(t.revoked_at for t in access.tokens(database.engine) if t.identity == bad) == first


def test_revoking_what_was_never_given_out_says_so(database: Database) -> None:
    with pytest.raises(CanariError, match="no token has the id 'nothing'"):
        access.revoke(database.engine, "nothing")


def test_an_account_opens_with_its_own_password_only(database: Database) -> None:
    made = access.put_account(database.engine, "ada", "correct horse", scopes=[Scope.OPERATE], models=["m"])
    assert made == Account("ada", frozenset({Scope.OPERATE}), frozenset({"m"}))
    assert access.authenticate(database.engine, "ada", "correct horse") == made
    assert access.authenticate(database.engine, "ada", "wrong horse") is None
    assert access.authenticate(database.engine, "nobody", "") is None


def test_a_disabled_account_stays_shut_and_its_sessions_end(database: Database) -> None:
    ada = access.put_account(database.engine, "ada", "correct horse", scopes=[Scope.OPERATE])
    session, other = identity(ada.subject), identity("account:bob")
    access.add_token(database.engine, session)
    access.add_token(database.engine, other)
    access.disable_account(database.engine, "ada")
    assert access.authenticate(database.engine, "ada", "correct horse") is None
    assert access.revoked(database.engine) == [session.token_id]
    with pytest.raises(CanariError, match="no account 'bob'"):
        access.disable_account(database.engine, "bob")


def test_an_account_made_again_gets_the_new_password_and_opens_again(database: Database) -> None:
    access.put_account(database.engine, "ada", "correct horse", scopes=[Scope.OPERATE])
    access.disable_account(database.engine, "ada")
    access.put_account(database.engine, "ada", "battery staple", scopes=[Scope.PREDICT])
    assert access.authenticate(database.engine, "ada", "correct horse") is None
    assert access.authenticate(database.engine, "ada", "battery staple") == Account(
        "ada", frozenset({Scope.PREDICT}), frozenset({"*"})
    )


def test_a_hash_of_dated_parameters_is_renewed_at_the_next_login(database: Database) -> None:
    access.put_account(database.engine, "ada", "correct horse", scopes=[])
    dated = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash("correct horse")
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE accounts SET password_hash = :dated"), {"dated": dated})
    assert access.authenticate(database.engine, "ada", "wrong horse") is None
    assert access.authenticate(database.engine, "ada", "correct horse") is not None
    with database.engine.connect() as connection:
        kept = connection.execute(text("SELECT password_hash FROM accounts")).scalar_one()
    assert kept != dated
    assert access.authenticate(database.engine, "ada", "correct horse") is not None


@pytest.mark.parametrize(("name", "password"), [("Ada L", "correct horse"), ("", "correct horse"), ("ada", "short")])
def test_an_unusable_name_or_password_is_refused_with_what_is_needed(
    database: Database, name: str, password: str
) -> None:
    with pytest.raises(CanariError, match=r"use up to 64|needs 8 or more"):
        access.put_account(database.engine, name, password, scopes=[])
