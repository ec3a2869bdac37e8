"""How right versions are, and what they did, hour by hour, as the API tells."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from canari.spec import ModelSpec
from canari.store import evaluations, feedback, hours, predictions
from canari.store.evaluations import LiveEvaluation
from canari.tokens import Scope
from canari.types import Feedback
from tests.integration.services.conftest import Api
from tests.integration.store.samples_of import id_at, prediction

NOW = datetime.now(UTC).replace(microsecond=0)
EVALUATED = LiveEvaluation(
    model="cats_dogs", version=1, since=NOW - timedelta(days=1), until=NOW, predictions=50, refused=0, lost=0,
    voted=12, satisfied=9, labelled=10, correct=6, answers={"cat": 50},
    held_out={"count": 200, "accuracy": 0.91, "synthetic": False}, calibration_error=0.125,
    drift={"share": 0.25}, report="cats_dogs/1/evaluation-x.html",
)  # fmt: skip


def operator(api: Api) -> dict[str, str]:
    return api.token(Scope.OPERATE, subject="boss")


def test_accuracy_comes_from_both_sources_with_its_intervals(api: Api, cats_dogs: ModelSpec) -> None:
    evaluations.keep(api.context.engine, EVALUATED)
    found = api.client.get("/api/cats_dogs/accuracy", headers=operator(api)).json()
    assert (found["model"], found["stable"]) == ("cats_dogs", 1)
    assert found["threshold"] == cats_dogs.least_accuracy
    [version] = found["versions"]
    assert version["held_out"] == {
        "accuracy": 0.91,
        "interval": pytest.approx([0.8622, 0.9423], abs=1e-3),
        "right": 182,
        "count": 200,
    }
    assert version["labels"]["accuracy"] == 0.6
    assert (version["synthetic"], version["calibration_error"], version["drift"]) == (False, 0.125, 0.25)
    assert version["report"] == "cats_dogs/1/evaluation-x.html"


def test_what_was_not_measured_is_null(api: Api) -> None:
    nothing = replace(EVALUATED, held_out=None, labelled=0, correct=0, calibration_error=None, drift=None, report=None)
    evaluations.keep(api.context.engine, nothing)
    [version] = api.client.get("/api/cats_dogs/accuracy", headers=operator(api)).json()["versions"]
    names = ("held_out", "synthetic", "labels", "calibration_error", "drift", "report")
    assert {name: version[name] for name in names} == dict.fromkeys(names)


def test_past_accuracy_comes_newest_first_as_far_as_asked(api: Api) -> None:
    for days in range(4):
        moved = replace(EVALUATED, since=EVALUATED.since - timedelta(days=days), until=NOW - timedelta(days=days))
        evaluations.keep(api.context.engine, moved)
    found = api.client.get("/api/cats_dogs/past-accuracy", params={"last": 2}, headers=operator(api)).json()
    moments = [datetime.fromisoformat(one["until"]) for one in found["evaluations"]]
    assert moments == [NOW, NOW - timedelta(days=1)]
    other = api.client.get("/api/cats_dogs/past-accuracy", params={"version": 2}, headers=operator(api)).json()
    assert other["evaluations"] == []
    assert api.client.get("/api/cats_dogs/past-accuracy", params={"last": 0}, headers=operator(api)).status_code == 422


def test_accuracy_is_for_operators(api: Api) -> None:
    for path in ("accuracy", "past-accuracy"):
        assert api.client.get(f"/api/cats_dogs/{path}").status_code == 401
        refused = api.client.get(f"/api/cats_dogs/{path}", headers=api.token(Scope.PREDICT))
        assert refused.status_code == 403
        assert api.client.get(f"/api/birds/{path}", headers=operator(api)).status_code == 404


def test_the_history_tells_each_hour_to_whoever_may_ask(api: Api) -> None:
    engine = api.context.engine
    rows = [
        prediction(1),
        prediction(2, latency_ms=37.5, score=0.25),
        prediction(3, status=503, label=None, score=None),
    ]
    old = prediction(4, id=id_at(NOW - timedelta(hours=2)))
    predictions.append(engine, "cats_dogs", 1, [*rows, old])
    feedback.put(engine, Feedback(rows[0].id, "cats_dogs", "ada", right=True, label="cat", comment=None))
    hours.sweep(engine)
    found = api.client.get("/api/cats_dogs/history", params={"hours": 4}).json()["hours"]
    assert [one["predictions"] for one in found] == [1, 2]
    newest = found[-1]
    assert (newest["failed"], newest["latency_ms"], newest["certainty"]) == (1, 25.0, 0.5)
    assert (newest["answers"], newest["voted"], newest["correct"]) == ({"cat": 2}, 1, 1)
    assert [one["predictions"] for one in api.client.get("/api/cats_dogs/history?hours=1").json()["hours"]] == [2]
    assert api.client.get("/api/drift/history").status_code == 401
    assert api.client.get("/api/cats_dogs/history?hours=0").status_code == 422
