from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from canari.errors import CanariError, Problem
from canari.keys import ensure_signing_key, signing_key
from canari.tokens import Identity, Scope, Verifier, bearer, issue, new_key, private_pem, public_pem

KEY = new_key()
HOUR = timedelta(hours=1)


def verifier() -> Verifier:
    return Verifier(public_pem(KEY))


def refused(token: str, by: Verifier | None = None) -> str:
    with pytest.raises(Problem) as problem:
        (by or verifier()).verify(token)
    assert problem.value.status == 401
    assert "WWW-Authenticate" in problem.value.headers
    return problem.value.detail


def test_a_token_carries_its_identity() -> None:
    token, identity = issue(KEY, subject="ada", scopes=[Scope.PREDICT], models=["drift"], lifetime=HOUR, version=3)
    assert verifier().verify(token) == identity
    assert (identity.subject, identity.version) == ("ada", 3)


def test_scopes_and_models_bound_what_a_bearer_may() -> None:
    _, one = issue(KEY, subject="a", scopes=[Scope.PREDICT], models=["drift"], lifetime=HOUR)
    assert one.may(Scope.PREDICT, "drift")
    assert not one.may(Scope.PREDICT, "cats_dogs")
    assert not one.may(Scope.OPERATE, "drift")
    _, admin = issue(KEY, subject="a", scopes=[Scope.ADMIN], lifetime=HOUR)
    assert admin.may(Scope.OPERATE, "any")
    assert not admin.may(Scope.RECORD, "any")


def test_an_expired_token_is_refused_also_once_it_was_good() -> None:
    old, _ = issue(KEY, subject="a", scopes=[], lifetime=HOUR, now=datetime.now(UTC) - 2 * HOUR)
    assert "expired" in refused(old)
    by = verifier()
    short, identity = issue(KEY, subject="a", scopes=[], lifetime=HOUR)
    by.verify(short)
    by._known[short] = Identity(
        identity.token_id, "a", frozenset(), frozenset(), datetime.now(UTC) - timedelta(seconds=1)
    )
    assert "expired" in refused(short, by)


def test_a_revoked_token_is_refused() -> None:
    token, identity = issue(KEY, subject="a", scopes=[], lifetime=HOUR)
    by = verifier()
    by.verify(token)
    by.revoked = frozenset({identity.token_id})
    assert "revoked" in refused(token, by)


def test_tokens_that_others_made_are_refused() -> None:
    theirs, _ = issue(new_key(), subject="a", scopes=[], lifetime=HOUR)
    assert "not one of this platform" in refused(theirs)
    claims = {"iss": "canari", "sub": "a", "jti": "1", "iat": 0, "exp": 2**33}
    assert "not one of" in refused(jwt.encode(claims, "secret" * 8, algorithm="HS256"))
    assert "not one of" in refused(jwt.encode(claims, "", algorithm="none"))
    assert "not one of" in refused(jwt.encode({**claims, "iss": "x"}, KEY, algorithm="EdDSA"))
    assert "not one of" in refused(jwt.encode({**claims, "scp": ["rule"]}, KEY, algorithm="EdDSA"))
    assert "not one of" in refused("no token")


def test_what_is_remembered_of_tokens_is_bounded() -> None:
    by = verifier()
    by._known = {str(n): issue(KEY, subject="a", scopes=[], lifetime=HOUR)[1] for n in range(4096)}
    token, identity = issue(KEY, subject="b", scopes=[], lifetime=HOUR)
    assert by.verify(token) == identity
    assert len(by._known) == 1


def test_a_header_goes_before_a_cookie_and_must_be_a_bearer_token() -> None:
    assert bearer("Bearer abc", "cookie") == "abc"
    assert bearer(None, "cookie") == "cookie"
    assert bearer(None, None) is None
    for wrong in ("Basic abc", "Bearer ", "abc"):
        with pytest.raises(Problem, match="must read: Bearer TOKEN"):
            bearer(wrong, None)


def test_the_signing_key_is_made_once_and_private(tmp_path: Path) -> None:
    with pytest.raises(CanariError, match="canari up"):
        signing_key(tmp_path)
    made = ensure_signing_key(tmp_path)
    assert private_pem(ensure_signing_key(tmp_path)) == private_pem(made)
    assert (tmp_path / "signing.pem").stat().st_mode & 0o077 == 0


def test_other_keys_are_refused(tmp_path: Path) -> None:
    other = generate_private_key(SECP256R1())
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (tmp_path / "signing.pem").write_bytes(other.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))
    with pytest.raises(CanariError, match="not an Ed25519 key"):
        signing_key(tmp_path)
    public = other.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(TypeError, match="not an Ed25519 key"):
        Verifier(public)
