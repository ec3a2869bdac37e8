"""Retraining: what is due is asked for once, what is made is compared with stable, and what is accepted is proposed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select, text

from canari import dataset
from canari.blobs import FolderBlobs, inputs_folder, samples_folder
from canari.ids import new_id
from canari.settings import Settings
from canari.store import jobs, rollouts, samples, tables, versions
from canari.store.jobs import Job
from canari.training_lock import training_alone
from canari.types import JobKind, JobState, VersionState
from services.jobs.making import Order
from services.jobs.retrain import retrain_due
from tests.integration.jobs.conftest import Workshop

TRIGGERS = "access: {anonymous: true}\ntriggers: {new_samples: 100}\n"


def give(workshop: Workshop, count: int, seed: int) -> None:
    """Samples that the team added an hour ago."""
    family, blobs = workshop.family, FolderBlobs(workshop.layout.blobs)
    made = []
    for raw in family.generate(count, seed):
        sha256 = blobs.put(samples_folder("line"), raw.content)
        made.append(dataset.sample(raw.content, raw.label, Path(samples_folder("line")) / sha256, "given", family))
    versions.put_spec(workshop.engine, family.spec)
    samples.add(workshop.engine, "line", made)
    with workshop.engine.begin() as connection:
        connection.execute(text("UPDATE samples SET created_at = now() - interval '1 hour'"))


def stable(workshop: Workshop) -> int:
    number = workshop.train(Order()).number
    rollouts.propose(workshop.engine, "line", number, actor="a test", reason="the first")
    return number


def retrained(workshop: Workshop, *, dry_run: bool = False) -> list[dict[str, Any]]:
    settings = Settings(
        data_dir=workshop.layout.root,
        families_dir=workshop.families,
        database_url=workshop.app_url,
        lineage_url=workshop.lineage_url,
    )
    return retrain_due(
        workshop.engine, settings, model=None, dry_run=dry_run, holder=f"test:{uuid4()}", tell=lambda _: None
    )


def by_hand(workshop: Workshop, **arguments: Any) -> Job:
    job, _ = jobs.ask(
        workshop.engine,
        JobKind.RETRAIN,
        f"retrain:line:hand:{uuid4()}",
        model="line",
        asked_by="ada",
        reason="because I say so",
        arguments=arguments,
    )
    retrained(workshop)
    found = jobs.read(workshop.engine, job.id)
    assert found is not None
    return found


@pytest.fixture
def trained(workshop: Workshop) -> Workshop:
    """A stable version 1 of 600 samples."""
    workshop.rewrite("model.yaml", "access: {anonymous: true}\n", TRIGGERS)
    give(workshop, 600, seed=1)
    assert stable(workshop) == 1
    return workshop


def test_new_samples_are_trained_on_compared_with_stable_and_proposed_once(trained: Workshop) -> None:
    assert [one["outcome"] for one in retrained(trained)] == ["nothing is due"]
    give(trained, 150, seed=2)
    [would] = retrained(trained, dry_run=True)
    assert would["outcome"].startswith("it would be trained on 750 samples, as retrain:line:v1:")
    assert jobs.newest(trained.engine, model="line") == []
    [done] = retrained(trained)
    assert (done["trigger"], done["state"]) == ("new_samples", "done")
    [job] = jobs.newest(trained.engine, model="line")
    assert job.asked_by == "trigger:new_samples"
    assert (job.result["version"], job.result["accepted"], job.result["samples"]) == (2, True, 750)
    assert job.result["why"].startswith("no worse than stable: ")
    opened = rollouts.desired(trained.engine)["line"].rollout
    assert opened is not None
    assert (opened.id, opened.canary, opened.proposed_by) == (job.result["rollout"], 2, "job:retrain")
    assert opened.reason == f"150 new samples since version 1, which is 100 or more; {job.result['why']}"
    assert [one["outcome"] for one in retrained(trained)] == ["due, but version 2 is on trial: its outcome comes first"]
    rollouts.abort(trained.engine, "line", reason="a test", actor="a test")
    [again] = retrained(trained)
    assert "on the same data for the same stable version it was asked for before" in again["outcome"]
    assert len(versions.versions(trained.engine, "line")) == 2
    [look] = jobs.of_keys(trained.engine, ["look:retrain"]).values()
    assert (look.state, look.model) == (JobState.DONE, None)


def test_what_stable_learned_from_is_not_trained_on_again_but_by_hand(trained: Workshop) -> None:
    trained.rewrite("model.yaml", "new_samples: 100", "schedule: '* * * * *'")
    versions.put_spec(trained.engine, trained.family.spec)
    with trained.engine.begin() as connection:
        connection.execute(text("UPDATE rollouts SET settled_at = now() - interval '1 hour'"))
    [refused] = retrained(trained)
    assert (refused["trigger"], refused["state"]) == ("schedule", "refused")
    [job] = jobs.newest(trained.engine, model="line")
    assert (job.error or "").startswith("stable version 1 learned from exactly these samples")
    assert "canari data add line DIR" in (job.error or "")
    assert [v.number for v in versions.versions(trained.engine, "line")] == [1]
    done = by_hand(trained)
    assert (done.state, done.result["version"]) == (JobState.DONE, 2)
    opened = rollouts.desired(trained.engine)["line"].rollout
    assert opened is not None
    assert (opened.reason or "").startswith("because I say so; no worse than stable")


def test_unhappy_users_have_the_model_diagnosed_and_trained_once_the_team_added_data(trained: Workshop) -> None:
    trained.rewrite("model.yaml", "new_samples: 100", "satisfaction: {below: 0.8, participation: 0.1}")
    versions.put_spec(trained.engine, trained.family.spec)
    with trained.engine.begin() as connection:
        connection.execute(text("UPDATE rollouts SET settled_at = now() - interval '2 days'"))
        connection.execute(
            text(
                "INSERT INTO hours (model, version, hour, predictions, voted, satisfied) "
                "SELECT 'line', 1, date_trunc('hour', now()) - n * interval '1 hour', 20, 5, 2 "
                "FROM generate_series(0, 29) n"
            )
        )
    [refused] = retrained(trained)
    assert (refused["trigger"], refused["state"]) == ("satisfaction", "refused")
    assert refused["reason"].startswith("feedback: 40 % right of 150 votes on 600 predictions, less than 80 %")
    [job] = jobs.newest(trained.engine, model="line")
    assert (trained.layout.root / "reports" / job.result["diagnosis"]["report"]).is_file()
    assert job.result["diagnosis"]["sentences"]
    give(trained, 100, seed=5)
    [done] = retrained(trained)
    assert (done["trigger"], done["state"]) == ("satisfaction", "done")


def test_a_version_that_is_worse_than_stable_is_refused_and_kept_as_failed_with_the_figures(trained: Workshop) -> None:
    with trained.engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE samples SET label = CASE label WHEN 'above' THEN 'below' ELSE 'above' END WHERE NOT evaluation"
            )
        )
    trained.rewrite("model.yaml", "threshold: 0.7", "threshold: 0")
    versions.put_spec(trained.engine, trained.family.spec)
    job = by_hand(trained)
    assert job.state is JobState.REFUSED
    assert (job.error or "").startswith("worse than stable: ")
    assert job.result["lost"] > job.result["gained"]
    worse = versions.version(trained.engine, "line", 2)
    assert (worse.state, worse.error) == (VersionState.FAILED, job.error)
    assert rollouts.desired(trained.engine)["line"].rollout is None
    assert len(list(trained.layout.archives.iterdir())) == 1


def test_what_vanished_is_left_out_and_told_and_what_is_missing_altogether_is_refused(trained: Workshop) -> None:
    gone = next(one for one in samples.all(trained.engine, "line") if not one.evaluation)
    (trained.layout.blobs / gone.path).unlink()
    job = by_hand(trained)
    assert job.state is JobState.DONE
    assert job.result["skipped"] == [["given", "it is gone"]]
    with trained.engine.begin() as connection:
        connection.execute(tables.samples.delete())
    empty = by_hand(trained)
    assert (empty.state, empty.error) == (
        JobState.REFUSED,
        "there are no samples. Add samples with `canari data add line DIR`",
    )


def test_the_specifications_options_hold_for_every_training_and_those_given_win(trained: Workshop) -> None:
    trained.rewrite(
        "model.yaml", "access: {anonymous: true}\n", "access: {anonymous: true}\ntraining: {options: {ridge: '0.5'}}\n"
    )
    versions.put_spec(trained.engine, trained.family.spec)
    by_hand(trained)
    by_hand(trained, options={"ridge": "0.25"})
    done = trained.run("train", "line", "--json")
    assert done.returncode == 0, done.stderr
    ridges = {v.number: v.metrics["training"]["ridge"] for v in versions.versions(trained.engine, "line")}
    assert {number: ridges[number] for number in (2, 3, 4)} == {2: 0.5, 3: 0.25, 4: 0.5}


def test_a_familys_options_are_tuned_where_that_is_asked_for(trained: Workshop) -> None:
    job = by_hand(trained, tune=3)
    assert job.state is JobState.DONE
    ridge = float(job.result["tuned"]["ridge"])
    assert versions.version(trained.engine, "line", 2).metrics["training"]["ridge"] == ridge
    assert not list((trained.layout.training / "line").iterdir())


def test_nothing_is_tuned_while_the_model_is_trained_so_that_an_erasure_waits_for_both(trained: Workshop) -> None:
    with training_alone(trained.layout, "line") as held:
        assert held
        job = by_hand(trained, tune=3)
    assert job.state is JobState.QUEUED
    assert job.error == "line is being trained already: wait for that to end"
    assert not list(trained.layout.training.glob("line/tune-*"))


def test_synthetic_samples_are_trained_on_where_that_is_asked_for(trained: Workshop) -> None:
    job = by_hand(trained, generate=400, seed=7)
    assert job.state is JobState.DONE
    assert versions.version(trained.engine, "line", 2).synthetic


def test_confident_answers_are_learned_from_and_their_risk_is_told(trained: Workshop) -> None:
    trained.rewrite("model.yaml", "train_on: own", "train_on: confident")
    versions.put_spec(trained.engine, trained.family.spec)
    blobs = FolderBlobs(trained.layout.blobs)
    for number in range(60):
        content = json.dumps({"x1": number / 60, "x2": (2 + number / 60) * (1 if number % 2 else -1)}).encode()
        blobs.put(inputs_folder("line", "visitor:1"), content)
        _answered(trained, content, "above" if number % 2 else "below", score=0.99 if number < 50 else 0.6)
    job = by_hand(trained)
    assert job.state is JobState.DONE, job.error
    assert 20 <= job.result["origins"]["confident"] <= 50
    assert "bear labels that a version of this model gave them itself" in job.result["why"]
    body = versions.manifest(trained.engine, "line", 2)
    assert body is not None
    users = [row for row in body["samples"] if "origin" in row]
    assert {(row["origin"], row["labelled_by"], row["evaluation"]) for row in users} == {
        ("confident", "version 1", False)
    }
    assert "visitor" not in json.dumps(body["samples"])


def _answered(workshop: Workshop, content: bytes, label: str, score: float) -> None:
    identifier, sha256 = new_id(), hashlib.sha256(content).hexdigest()
    with workshop.engine.begin() as connection:
        connection.execute(
            tables.predictions.insert().values(
                id=identifier, model="line", version=1, recorder=uuid4(), seq=1, kind="arm", rollout=0, step=0,
                subject="visitor:1", status=200, label=label, score=score, request_id="r", input_bytes=9, latency_ms=1,
            )
        )  # fmt: skip
        connection.execute(
            text(
                "INSERT INTO inputs (model, prediction_id, version, sha256, subject, media_type, bytes, consented, "
                "keep_until) VALUES ('line', :id, 1, :sha256, 'visitor:1', 'application/json', 9, true, now() + "
                "interval '1 day')"
            ),
            {"id": identifier, "sha256": sha256},
        )


def test_manifests_are_kept_with_what_they_name(trained: Workshop) -> None:
    with trained.engine.connect() as connection:
        digest = connection.execute(select(tables.versions.c.manifest)).scalar_one()
    assert samples.manifest_of(trained.engine, "line", 1) == digest
    assert samples.manifest(trained.engine, digest) == versions.manifest(trained.engine, "line", 1)
    assert samples.manifest(trained.engine, "none") is None
