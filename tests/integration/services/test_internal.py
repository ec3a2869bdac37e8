import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pydantic_core import to_jsonable_python

from canari.ids import first_id
from canari.store import access, predictions
from canari.tokens import Scope
from canari.types import Prediction
from services.feedback import intake
from tests.integration.services.conftest import Api
from tests.integration.store.samples_of import prediction

URL = "/internal/predictions"


def line(row: Prediction, **changes: Any) -> str:
    return json.dumps({**to_jsonable_python(row), **changes})


def send(api: Api, body: str | bytes, **headers: str) -> httpx.Response:
    content = body.encode() if isinstance(body, str) else body
    own = {"Content-Type": "application/x-ndjson", **api.bento()}
    answer: httpx.Response = api.client.post(URL, content=content, headers=own | headers)
    return answer


def test_predictions_are_kept_under_the_tokens_model_and_version_whatever_the_rows_say(api: Api) -> None:
    rows = [prediction(1), prediction(2)]
    body = "\n".join(line(row, model="drift", version=9, newer_field=1) for row in rows) + "\n"
    assert send(api, body).json() == {"inserted": 2, "duplicates": 0, "refused": []}
    assert send(api, body).json() == {"inserted": 0, "duplicates": 2, "refused": []}
    kept = predictions.page(api.context.engine, "cats_dogs")
    assert [(r.version, r.prediction) for r in kept] == [(1, rows[1]), (1, rows[0])]


def test_a_bad_row_is_refused_alone_whether_we_or_the_database_see_it(api: Api) -> None:
    good = [prediction(seq) for seq in range(1, 4)]
    bad = {
        2: "this is not JSON",
        4: line(prediction(4), seq="four"),
        5: line(prediction(5), label="nul\0"),
        6: line(prediction(6), status=70_000),
        7: line(prediction(7), score=float("nan")),
        8: line(prediction(8), id="11111111-1111-4111-8111-111111111111"),
        9: line(prediction(9), id=str(first_id(datetime.now(UTC) + timedelta(days=2)))),
    }
    by_line = {1: line(good[0]), 3: line(good[1]), 10: line(good[2]), **bad}
    answer = send(api, "\n".join(by_line[number] for number in sorted(by_line))).json()
    assert (answer["inserted"], answer["duplicates"]) == (3, 0)
    assert [refusal["line"] for refusal in answer["refused"]] == list(bad)
    why = {refusal["line"]: refusal["why"] for refusal in answer["refused"]}
    assert why[4].startswith("seq: ")
    assert "0x00" in why[5]
    assert "smallint" in why[6]
    assert "UUIDv7" in why[8]


def test_packed_predictions_are_unpacked(api: Api) -> None:
    packed = gzip.compress(line(prediction()).encode())
    assert send(api, packed, **{"Content-Encoding": "gzip"}).json()["inserted"] == 1


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [(b"not gzip", "gzip", 400), (gzip.compress(b"x" * 1000, mtime=0)[:-9], "gzip", 400), (b"", "br", 415)],
)
def test_a_body_that_cannot_be_unpacked_is_refused(api: Api, body: bytes, encoding: str, status: int) -> None:
    assert send(api, body, **{"Content-Encoding": encoding}).status_code == status


def test_a_small_body_that_unpacks_to_a_huge_one_is_refused(api: Api) -> None:
    bomb = gzip.compress(b"\n" * (intake.MOST_BYTES + 1))
    assert len(bomb) < 100_000
    assert send(api, bomb, **{"Content-Encoding": "gzip"}).status_code == 413


def test_too_many_lines_and_another_media_type_are_refused(api: Api) -> None:
    assert send(api, "{}\n" * (intake.MOST_LINES + 1)).status_code == 413
    assert api.client.post(URL, json={}, headers=api.bento()).status_code == 415


def test_only_a_bentos_own_token_may_record(api: Api) -> None:
    headers = {"Content-Type": "application/x-ndjson"}
    assert api.client.post(URL, headers=headers).status_code == 401
    for token in (
        api.token(Scope.ADMIN),
        api.token(Scope.RECORD),
        api.token(Scope.RECORD, models=("cats_dogs",)),
        api.token(Scope.RECORD, models=("cats_dogs", "drift"), version=1),
        api.token(Scope.OPERATE, models=("cats_dogs",), version=1),
    ):
        assert api.client.post(URL, headers=headers | token).status_code == 403


def test_a_bento_learns_which_tokens_are_revoked(api: Api) -> None:
    _, identity = api.issue(Scope.PREDICT)
    access.add_token(api.context.engine, identity)
    access.revoke(api.context.engine, identity.token_id)
    assert api.client.get("/internal/revocations", headers=api.bento()).json() == {"revoked": [identity.token_id]}
    assert api.client.get("/internal/revocations").status_code == 401


def test_an_archive_is_handed_out_by_its_digest(api: Api) -> None:
    digest = "ab" * 32
    assert api.client.get(f"/internal/bentos/{digest}", headers=api.bento()).status_code == 404
    (api.context.archives.staging / f"{digest}.tar.gz").write_bytes(b"an archive")
    assert api.client.get(f"/internal/bentos/{digest}", headers=api.bento()).content == b"an archive"
    assert api.client.get(f"/internal/bentos/{digest}", headers=api.token(Scope.ADMIN)).status_code == 403
    assert api.client.get("/internal/bentos/..%2Fkeys", headers=api.bento()).status_code in {404, 422}


def test_the_internal_routes_are_not_in_the_public_document(api: Api) -> None:
    assert not [path for path in api.client.get("/api/openapi.json").json()["paths"] if "internal" in path]
