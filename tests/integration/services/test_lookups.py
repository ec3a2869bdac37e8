from uuid import uuid4

from canari.ids import new_id
from canari.store import predictions
from canari.tokens import Scope
from tests.integration.services.conftest import Api
from tests.integration.store.samples_of import prediction

URL = "/api/cats_dogs/predictions"


def test_a_person_sees_their_own_predictions_and_an_operator_everyones(api: Api) -> None:
    rows = [prediction(1, subject="ada"), prediction(2, subject="bob"), prediction(3, subject="ada")]
    predictions.append(api.context.engine, "cats_dogs", 1, rows)
    ada, boss = api.token(Scope.PREDICT, subject="ada"), api.token(Scope.PREDICT, Scope.OPERATE, subject="boss")
    own = api.client.get(URL, headers=ada).json()
    assert [p["prediction_id"] for p in own["predictions"]] == [str(rows[2].id), str(rows[0].id)]
    assert own["next"] is None
    assert [p["subject"] for p in api.client.get(URL, headers=boss).json()["predictions"]] == ["ada", "bob", "ada"]
    assert api.client.get(URL).status_code == 401


def test_pages_follow_each_other_to_the_end(api: Api) -> None:
    predictions.append(api.context.engine, "cats_dogs", 1, [prediction(seq, subject="ada") for seq in range(1, 5)])
    headers = api.token(Scope.PREDICT, subject="ada")
    first = api.client.get(URL, params={"limit": 2}, headers=headers).json()
    second = api.client.get(URL, params={"limit": 2, "before": first["next"]}, headers=headers).json()
    assert len(first["predictions"]) == len(second["predictions"]) == 2
    assert first["next"] == first["predictions"][-1]["prediction_id"]
    assert second["next"] is None
    assert api.client.get(URL, params={"limit": 0}, headers=headers).status_code == 422


def test_a_page_is_of_one_version_where_asked(api: Api) -> None:
    for version in (1, 2):
        predictions.append(api.context.engine, "cats_dogs", version, [prediction(1, recorder=uuid4(), subject="ada")])
    headers = api.token(Scope.PREDICT, subject="ada")
    found = api.client.get(URL, params={"version": 2}, headers=headers).json()["predictions"]
    assert [p["version"] for p in found] == [2]


def test_a_prediction_comes_with_its_scores_best_first_and_what_its_person_said(api: Api) -> None:
    row = prediction(subject="ada", label="dog", score=0.75, scores={"cat": 0.25, "dog": 0.75})
    predictions.append(api.context.engine, "cats_dogs", 1, [row])
    ada, bob = (api.token(Scope.PREDICT, Scope.FEEDBACK, subject=name) for name in ("ada", "bob"))
    for headers, right in ((ada, False), (bob, True)):
        vote = {"prediction_id": str(row.id), "right": right}
        assert api.client.post("/api/cats_dogs/feedback", json=vote, headers=headers).status_code == 201
    seen = api.client.get(f"{URL}/{row.id}", headers=ada).json()
    assert seen["labels"] == [{"label": "dog", "score": 0.75}, {"label": "cat", "score": 0.25}]
    assert [(v["subject"], v["right"]) for v in seen["feedback"]] == [("ada", False)]
    assert "input_sha256" not in seen
    operator = api.client.get(f"{URL}/{row.id}", headers=api.token(Scope.OPERATE, Scope.PREDICT)).json()
    assert [v["subject"] for v in operator["feedback"]] == ["ada", "bob"]
    assert api.client.get(f"{URL}/{row.id}", headers=bob).status_code == 404
    assert api.client.get(f"{URL}/{new_id()}", headers=ada).status_code == 404


def test_a_visitor_without_a_session_may_look_up_the_prediction_whose_id_they_hold(api: Api) -> None:
    identifier = new_id()
    mine, others = prediction(1, id=identifier, subject=f"anonymous:{identifier}"), prediction(2, subject="ada")
    predictions.append(api.context.engine, "cats_dogs", 1, [mine, others])
    assert api.client.get(f"{URL}/{mine.id}").status_code == 200
    assert api.client.get(f"{URL}/{others.id}").status_code == 404
