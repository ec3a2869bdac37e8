"""What the feedback API tells Prometheus of the loop."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text

from canari.launch.postgres import EmbeddedPostgres
from canari.spec import DataPolicy, ModelSpec, Satisfaction, Triggers
from canari.store import evaluations, feedback, hours, jobs, predictions, samples, versions
from canari.types import Feedback, JobKind, JobState, Sample
from services.feedback import loop_metrics
from tests.conftest import GivenPostgres
from tests.integration.services.conftest import Api
from tests.integration.services.test_accuracy import EVALUATED
from tests.integration.services.test_status import away
from tests.integration.services.test_store_metrics import told
from tests.integration.store.samples_of import prediction

LOOP = (
    *("canari_satisfaction", "canari_participation", "canari_accuracy", "canari_calibration", "canari_drift"),
    *("canari_votes", "canari_labels", "canari_latency"),
)


@pytest.fixture
def triggered(api: Api, cats_dogs: ModelSpec) -> ModelSpec:
    """cats_dogs with every trigger there is."""
    triggers = Triggers(
        satisfaction=Satisfaction(below=0.8, participation=0.1), new_samples=500, accuracy_below=0.75, drift=0.3
    )
    spec = cats_dogs.model_copy(update={"triggers": triggers, "data": DataPolicy(retain_inputs="consented")})
    versions.put_spec(api.context.engine, spec)
    return spec


@pytest.mark.usefixtures("triggered")
def test_users_and_evaluations_judge_live_versions_beside_what_is_asked_for(api: Api) -> None:
    engine = api.context.engine
    rows = [prediction(seq) for seq in range(1, 5)]
    predictions.append(engine, "cats_dogs", 1, rows)
    for row, right in zip(rows[:2], (True, False), strict=True):
        feedback.put(engine, Feedback(row.id, "cats_dogs", "ada", right=right, label=None, comment=None))
    predictions.append(engine, "cats_dogs", 7, [prediction(1, recorder=uuid4())])
    hours.sweep(engine)
    evaluations.keep(engine, EVALUATED)
    found = told(api)
    assert {key: value for key, value in found.items() if key[0].startswith(LOOP)} == {
        ("canari_satisfaction_ratio", "cats_dogs", "1"): 0.5,
        ("canari_participation_ratio", "cats_dogs", "1"): 0.5,
        ("canari_accuracy_ratio", "cats_dogs", "held_out", "1"): 0.91,
        ("canari_accuracy_ratio", "cats_dogs", "labels", "1"): 0.6,
        ("canari_accuracy_threshold", "cats_dogs"): 0.75,
        ("canari_accuracy_threshold", "drift"): 0.7,
        ("canari_satisfaction_threshold", "cats_dogs"): 0.8,
        ("canari_participation_threshold", "cats_dogs"): 0.1,
        ("canari_calibration_error", "cats_dogs", "1"): 0.125,
        ("canari_drift_share", "cats_dogs", "1"): 0.25,
        ("canari_drift_threshold", "cats_dogs"): 0.3,
        ("canari_votes", "cats_dogs", "1"): 2,
        ("canari_labels", "cats_dogs", "1"): EVALUATED.labelled,
        ("canari_latency_budget_seconds", "cats_dogs"): 0.5,
        ("canari_latency_budget_seconds", "drift"): 0.5,
    }


def test_what_is_not_known_is_left_out(api: Api, cats_dogs: ModelSpec) -> None:
    versions.put_spec(api.context.engine, cats_dogs.model_copy(update={"triggers": Triggers()}))
    evaluations.keep(api.context.engine, replace(EVALUATED, held_out=None, labelled=0, correct=0, drift=None))
    found = {key[0] for key in told(api)}
    assert not found & {"canari_accuracy_ratio", "canari_drift_share", "canari_satisfaction_ratio"}
    assert not found & {"canari_satisfaction_threshold", "canari_drift_threshold", "canari_new_samples_threshold"}
    assert "canari_job_last_success_timestamp_seconds" not in found


@pytest.mark.usefixtures("triggered")
def test_new_samples_are_those_that_the_stable_version_was_not_made_of(api: Api) -> None:
    made = [Sample(str(n) * 64, "cat", "g", Path("nowhere"), evaluation=False, source="") for n in range(3)]
    samples.add(api.context.engine, "cats_dogs", made)
    samples.put_manifest(api.context.engine, "m", "cats_dogs", {"samples": [{"sha256": "0" * 64}]})
    found = told(api)
    assert found["canari_new_samples", "cats_dogs"] == 2
    assert found["canari_new_samples_threshold", "cats_dogs"] == 500


def test_jobs_are_told_by_where_they_stand(api: Api) -> None:
    engine = api.context.engine

    def asked(kind: JobKind, key: str) -> jobs.Job:
        jobs.ask(engine, kind, key, model=None, asked_by="a test", reason="so")
        taken = jobs.take(engine, kind, holder="me", lease=timedelta(minutes=1))
        assert taken is not None
        return taken

    jobs.finish(engine, asked(JobKind.EVALUATE, "a"), JobState.DONE, result={})
    jobs.finish(engine, asked(JobKind.RETRAIN, "b"), JobState.REFUSED, result={})
    jobs.finish(engine, asked(JobKind.RETENTION, "c"), JobState.FAILED, result={}, error="so")
    asked(JobKind.RETRAIN, "d")
    jobs.ask(engine, JobKind.RETRAIN, "e", model=None, asked_by="a test", reason="so")
    found = told(api)
    for kind in ("evaluate", "retrain"):
        assert found["canari_job_last_success_timestamp_seconds", kind] == pytest.approx(time.time(), abs=30)
    assert ("canari_job_last_success_timestamp_seconds", "retention") not in found
    counts = {key[1:]: value for key, value in found.items() if key[0] == "canari_jobs"}
    assert {key: value for key, value in counts.items() if value} == {
        ("retention", "failed"): 1,
        ("retrain", "running"): 1,
        ("retrain", "queued"): 1,
    }
    assert len(counts) == 9
    assert 0 <= found["canari_job_running_seconds", "retrain"] < 30
    assert found["canari_job_running_seconds", "evaluate"] == 0


def test_inputs_that_wait_or_are_overdue_and_open_erasures_are_counted(api: Api) -> None:
    with api.context.engine.begin() as connection:
        for hours_left, review, consented in ((24, "waiting", True), (24, "waiting", False), (24, "accepted", True),
                                              (-1, "waiting", True), (-30, "waiting", True)):  # fmt: skip
            connection.execute(
                text(
                    "INSERT INTO inputs (model, prediction_id, version, sha256, subject, media_type, bytes, consented, "
                    "keep_until, review) VALUES ('cats_dogs', :id, 1, 'x', 'ada', 'image/jpeg', 1, :consented, :until, "
                    ":review)"
                ),
                {
                    "id": uuid4(),
                    "consented": consented,
                    "review": review,
                    "until": datetime.now(UTC) + timedelta(hours=hours_left),
                },
            )
        connection.execute(
            text(
                "INSERT INTO erasures (id, subject_hash, erased_before, requested_by) "
                "VALUES (:id, 'x', now(), 'a test')"
            ),
            {"id": uuid4()},
        )
    found = told(api)
    assert found["canari_inputs_waiting", "cats_dogs"] == 1
    assert found["canari_inputs_waiting", "drift"] == 0
    assert found["canari_inputs_overdue",] == 1
    assert found["canari_erasures_open",] == 1


def test_without_a_database_there_are_none_and_the_metrics_still_answer(
    api: Api, postgres: EmbeddedPostgres | GivenPostgres
) -> None:
    with away(postgres, api):
        found = told(api)
    assert found["canari_database_up",] == 0
    assert not {name for name, *_ in found} & loop_metrics._GAUGES.keys()
