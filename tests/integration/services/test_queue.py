from itertools import islice

import pytest

from canari.blobs import FolderBlobs
from canari.ids import new_id
from canari.store import feedback
from canari.tokens import Scope
from canari.types import Feedback
from tests.integration.services.conftest import Api
from tests.integration.store.queue_of import ADA, keep, kept_samples, photos, rows

QUEUE, INPUTS = "/api/cats_dogs/queue", "/api/cats_dogs/inputs"


@pytest.fixture
def blobs(api: Api) -> FolderBlobs:
    return FolderBlobs(api.context.layout.blobs)


@pytest.fixture
def eve(api: Api) -> dict[str, str]:
    """A curator's token."""
    return api.token(Scope.CURATE, subject="account:eve", models=("cats_dogs",))


def test_the_queue_tells_what_was_answered_and_said_and_never_who_asked(
    api: Api, blobs: FolderBlobs, eve: dict[str, str]
) -> None:
    first, second = (keep(api.context.engine, blobs, content, score=0.6) for content in islice(photos(), 2))
    feedback.put(api.context.engine, Feedback(second, "cats_dogs", ADA, False, "dog", "a puppy"))
    found = api.client.get(QUEUE, headers=eve)
    assert found.status_code == 200
    body = found.json()
    assert [one["prediction_id"] for one in body["inputs"]] == [str(second), str(first)]
    top = body["inputs"][0]
    assert (top["answer"], top["guess"], top["score"], top["version"]) == ("cat", "cat", 0.6, 1)
    assert top["labels"] == [{"label": "cat", "score": 0.75}, {"label": "dog", "score": 0.25}]
    assert [(said["right"], said["label"], said["comment"]) for said in top["feedback"]] == [(False, "dog", "a puppy")]
    assert ADA not in found.text
    assert body["counts"] == {"waiting": 2, "accepted": 0, "relabelled": 0, "refused": 0}
    assert body["labels"] == [
        {"label": "cat", "waiting": 2, "samples": 0},
        {"label": "dog", "waiting": 0, "samples": 0},
    ]
    assert (body["train_on"], body["retains"], body["next"]) == ("own", "never", None)


def test_an_answer_that_was_not_certain_enough_may_be_accepted_as_the_best_label(
    api: Api, blobs: FolderBlobs, eve: dict[str, str]
) -> None:
    identifier = keep(api.context.engine, blobs, next(photos()), label="unknown", score=0.55)
    top = api.client.get(QUEUE, headers=eve).json()["inputs"][0]
    assert (top["answer"], top["guess"]) == ("unknown", "cat")
    said = api.client.post(f"{INPUTS}/{identifier}/review", json={"decision": "accept"}, headers=eve)
    assert said.json() == {
        "prediction_id": str(identifier), "review": "accepted", "label": "cat", "changed": True,
    }  # fmt: skip


def test_pages_follow_each_other_though_the_queue_moves(api: Api, blobs: FolderBlobs, eve: dict[str, str]) -> None:
    ids = [
        str(keep(api.context.engine, blobs, content, score=0.1 + place / 10))
        for place, content in zip(range(5), photos(), strict=False)
    ]
    first = api.client.get(QUEUE, params={"limit": 2}, headers=eve).json()
    assert [one["prediction_id"] for one in first["inputs"]] == ids[:2]
    for done in ids[:2]:
        assert api.client.post(f"{INPUTS}/{done}/review", json={"decision": "refuse"}, headers=eve).is_success
    rest = api.client.get(QUEUE, params={"limit": 3, "before": first["next"]}, headers=eve).json()
    assert [one["prediction_id"] for one in rest["inputs"]] == ids[2:]
    assert rest["next"] is None
    refused = api.client.get(QUEUE, params={"review": "refused"}, headers=eve).json()
    assert [one["reviewed_by"] for one in refused["inputs"]] == ["account:eve"] * 2
    assert refused["counts"] == {"waiting": 3, "accepted": 0, "relabelled": 0, "refused": 2}
    for place in ("x", f"r_nan_{new_id()}", "r_0.5_" + "-" * 36, f"r_1e999_{new_id()}x"):
        assert api.client.get(QUEUE, params={"before": place}, headers=eve).status_code == 422
    assert api.client.get(QUEUE, params={"before": f"r_1e-300_{new_id()}"}, headers=eve).status_code == 200


def test_an_input_comes_as_it_was_sent_and_can_do_nothing_in_a_browser(
    api: Api, blobs: FolderBlobs, eve: dict[str, str]
) -> None:
    content = next(photos())
    engine = api.context.engine
    seen = api.client.get(f"{INPUTS}/{keep(engine, blobs, content)}", headers=eve)
    assert (seen.content, seen.headers["content-type"]) == (content, "image/png")
    assert seen.headers["cache-control"] == "no-store"
    assert seen.headers["x-content-type-options"] == "nosniff"
    assert seen.headers["content-security-policy"] == "default-src 'none'; sandbox"
    text = keep(engine, blobs, "<script>été</script>".encode(), media_type="text/html")
    seen = api.client.get(f"{INPUTS}/{text}", headers=eve)
    assert (seen.text, seen.headers["content-type"]) == ("<script>été</script>", "text/plain; charset=utf-8")
    assert seen.headers["content-disposition"] == f'attachment; filename="{text}.txt"'
    drawing = keep(engine, blobs, b"<svg/>", media_type="image/svg+xml")
    seen = api.client.get(f"{INPUTS}/{drawing}", headers=eve)
    assert seen.headers["content-type"] == "application/octet-stream"
    assert seen.headers["content-disposition"].startswith("attachment")


def test_a_curators_word_makes_a_sample_and_another_takes_it_back(
    api: Api, blobs: FolderBlobs, eve: dict[str, str]
) -> None:
    identifier = keep(api.context.engine, blobs, next(photos()))
    url = f"{INPUTS}/{identifier}/review"
    said = api.client.post(url, json={"decision": "relabel", "label": "dog"}, headers=eve)
    assert (said.status_code, said.json()["review"], said.json()["changed"]) == (200, "relabelled", True)
    assert api.client.post(url, json={"decision": "relabel", "label": "dog"}, headers=eve).json()["changed"] is False
    (row,) = rows(api.context.engine)
    assert (row.label, row.labelled_by) == ("dog", "account:eve")
    assert kept_samples(api.context.layout.blobs) == {row.sha256}
    assert api.client.get(QUEUE, headers=eve).json()["labels"][1]["samples"] == 1
    assert api.client.post(url, json={"decision": "refuse"}, headers=eve).json()["review"] == "refused"
    assert kept_samples(api.context.layout.blobs) == set()


def test_what_cannot_be_is_told_as_a_problem(api: Api, blobs: FolderBlobs, eve: dict[str, str]) -> None:
    engine = api.context.engine
    judged = keep(engine, blobs, next(photos(judged=True)))
    waits = keep(engine, blobs, next(photos()))
    held = keep(engine, blobs, b"x", consented=False)
    for identifier, said, status, code in (
        (judged, {"decision": "accept"}, 409, "held-out"),
        (waits, {"decision": "relabel", "label": "fox"}, 422, "unknown-label"),
        (waits, {"decision": "relabel"}, 422, "invalid-request"),
        (waits, {"decision": "refuse", "label": "cat"}, 422, "invalid-request"),
        (waits, {"decision": "burn"}, 422, "invalid-request"),
        (held, {"decision": "refuse"}, 404, "unknown-input"),
        (new_id(), {"decision": "refuse"}, 404, "unknown-input"),
    ):
        told = api.client.post(f"{INPUTS}/{identifier}/review", json=said, headers=eve)
        assert (told.status_code, told.json()["type"].split(":")[-1]) == (status, code)
    assert api.client.get(f"{INPUTS}/{held}", headers=eve).status_code == 404
    assert (
        "refuse it"
        in api.client.post(f"{INPUTS}/{judged}/review", json={"decision": "accept"}, headers=eve).json()["detail"]
    )


def test_only_a_curator_of_the_model_sees_what_users_sent(api: Api, blobs: FolderBlobs) -> None:
    identifier = keep(api.context.engine, blobs, next(photos()))
    others = api.token(Scope.CURATE, models=("drift",))
    operator = api.token(Scope.OPERATE, Scope.PREDICT, Scope.FEEDBACK)
    said = {"decision": "refuse"}
    for headers, status in (({}, 401), (others, 403), (operator, 403)):
        assert api.client.get(QUEUE, headers=headers).status_code == status
        assert api.client.get(f"{INPUTS}/{identifier}", headers=headers).status_code == status
        assert api.client.post(f"{INPUTS}/{identifier}/review", json=said, headers=headers).status_code == status
    admin = api.token(Scope.ADMIN)
    assert api.client.get(QUEUE, headers=admin).status_code == 200
    assert api.client.get("/api/horses/queue", headers=admin).status_code == 404


def test_the_queue_is_described(api: Api) -> None:
    paths = api.client.get("/api/openapi.json").json()["paths"]
    assert {"200", "401", "403", "404", "422", "503"} == set(paths["/api/{model}/queue"]["get"]["responses"])
    shown = paths["/api/{model}/inputs/{prediction_id}"]["get"]["responses"]["200"]["content"]
    assert set(shown) == {"image/*", "text/plain", "application/octet-stream"}
    assert "409" in paths["/api/{model}/inputs/{prediction_id}/review"]["post"]["responses"]
