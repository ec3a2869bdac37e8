"""Evaluating live versions: a real model asked anew, real votes, a real report."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy.engine import make_url

from canari.errors import CanariError
from canari.launch.postgres import OWNER, EmbeddedPostgres
from canari.registry import Registry
from canari.settings import Layout, Settings
from canari.store import evaluations, feedback, hours, predictions, rollouts, samples, versions
from canari.store.engine import connect
from canari.store.evaluations import LiveEvaluation
from canari.store.migrate import APP_ROLE, ensure_database
from canari.types import Feedback, Sample
from services.jobs import reports
from services.jobs.evaluate import Evaluated, evaluate
from services.jobs.making import Order
from services.jobs.samples import add_folder
from services.jobs.train import Outcome
from tests.conftest import GivenPostgres, fresh_database
from tests.integration.jobs.conftest import Workshop, workshop_in
from tests.integration.store.samples_of import id_at, prediction

UNTIL = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
SINCE = UNTIL - timedelta(hours=24)


@dataclass
class Live:
    """The family `line` with version 1 serving."""

    workshop: Workshop
    outcome: Outcome
    stages: list[str] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        return Settings(
            data_dir=self.workshop.layout.root,
            families_dir=self.workshop.families,
            database_url=self.workshop.app_url,
            lineage_url=self.workshop.lineage_url,
        )

    def evaluate(self, *, dry_run: bool = False) -> Evaluated:
        self.stages.clear()
        [found] = evaluate(
            self.workshop.engine, self.settings, SINCE, UNTIL, dry_run=dry_run,
            report=lambda stage, *_: self.stages.append(stage),
        )  # fmt: skip
        return found

    def answer(self, label: str, score: float, truth: str | None, *, right: bool, hours_ago: int = 2) -> None:
        """A prediction on which a person has spoken."""
        row = prediction(
            1, recorder=uuid4(), id=id_at(UNTIL - timedelta(hours=hours_ago)), label=label, score=score,
            subject="visitor:ada-lovelace",
        )  # fmt: skip
        predictions.append(self.workshop.engine, "line", 1, [row])
        said = Feedback(row.id, "line", "visitor:ada-lovelace", right, truth, "a comment of mine")
        feedback.put(self.workshop.engine, said)


@pytest.fixture(scope="module")
def trained(
    postgres: EmbeddedPostgres | GivenPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Workshop, Outcome]]:
    """The family `line` with a version 1 that serves, once for all tests: each works on a copy."""
    with fresh_database(postgres) as database:
        workshop = workshop_in(tmp_path_factory.mktemp("trained"), database)
        outcome = workshop.train(Order(seed=1, generate=120))
        rollouts.deploy(workshop.engine, "line", 1, weight=100, actor="a test")
        workshop.engine.dispose()
        yield workshop, outcome


@pytest.fixture
def live(
    trained: tuple[Workshop, Outcome], postgres: EmbeddedPostgres | GivenPostgres, tmp_path: Path
) -> Iterator[Live]:
    original, outcome = trained
    name, families = f"test_{uuid4().hex[:12]}", tmp_path / f"families_{uuid4().hex}"
    shutil.copytree(original.layout.root, tmp_path / "data")
    shutil.copytree(original.families, families)
    admin = connect(postgres.url(OWNER), pool=1)
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        template = make_url(original.app_url).database
        connection.exec_driver_sql(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        engine = connect(postgres.url(APP_ROLE, name))
        copy = replace(
            original, layout=Layout(tmp_path / "data"), engine=engine, app_url=postgres.url(APP_ROLE, name),
            families=families,
        )  # fmt: skip
        yield Live(copy, outcome)
        engine.dispose()
        connection.exec_driver_sql(f'DROP DATABASE "{name}" WITH (FORCE)')
    admin.dispose()


def held_out(evaluated: Evaluated) -> dict[str, object]:
    assert evaluated.figures.held_out is not None
    return evaluated.figures.held_out


def test_a_live_version_is_asked_about_todays_evaluation_set_and_as_long_as_that_is_the_same_not_again(
    live: Live, tmp_path: Path
) -> None:
    first = live.evaluate()
    assert held_out(first)["count"] == live.outcome.evaluation.count
    assert held_out(first)["accuracy"] == pytest.approx(live.outcome.evaluation.accuracy, abs=1e-6)
    assert held_out(first)["synthetic"] is True
    assert "held out" in live.stages
    again = live.evaluate()
    assert held_out(again) == held_out(first)
    assert "held out" not in live.stages
    for place in range(60):
        label = ("below", "above")[place % 2]
        (tmp_path / "more" / label).mkdir(parents=True, exist_ok=True)
        row = {"x1": place / 10, "x2": place / 10 * 0.6 + (-3, 3)[place % 2]}
        (tmp_path / "more" / label / f"{place}.json").write_text(json.dumps(row))
    workshop = live.workshop
    add_folder(workshop.engine, workshop.layout, workshop.family, tmp_path / "more", workshop.report)
    real = live.evaluate()
    assert "held out" in live.stages
    assert held_out(real)["synthetic"] is False
    assert held_out(real)["accuracy"] == 1
    assert held_out(real)["count"] == sum(one.evaluation for one in samples.all(workshop.engine, "line"))


def test_late_labels_tell_accuracy_and_whether_certainty_can_be_believed(live: Live) -> None:
    for _ in range(3):
        live.answer("above", 0.95, "above", right=True)
    live.answer("above", 0.95, "below", right=False)
    live.answer("below", 0.65, "below", right=True)
    figures = live.evaluate().figures
    assert (figures.voted, figures.satisfied, figures.labelled, figures.correct) == (5, 4, 5, 4)
    assert figures.calibration_error == pytest.approx((4 * abs(0.95 - 0.75) + abs(0.65 - 1)) / 5, abs=1e-6)
    kept = evaluations.latest(live.workshop.engine)["line", 1]
    assert kept == figures


def test_a_report_is_kept_that_names_nobody_and_holds_no_comment(live: Live) -> None:
    for hours_ago in range(2, 12):
        live.answer("above", 0.95, "below", right=False, hours_ago=hours_ago)
        live.answer("above", 0.95, "above", right=True, hours_ago=hours_ago)
    hours.sweep(live.workshop.engine)
    figures = live.evaluate().figures
    assert figures.report == f"line/1/evaluation-{UNTIL:%Y%m%dT%H%M%SZ}.html"
    page = (live.workshop.layout.reports / figures.report).read_text()
    for title in ("Satisfaction and votes", "Accuracy", "Calibration", "Which labels are taken for which"):
        assert f"<h2>{title}</h2>" in page
    assert page.count("<svg") == page.count("</svg>") >= 4
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert "ada" not in page
    assert "comment of mine" not in page
    assert not re.search(r'(src|href)="(?!#|data:)', page)


def test_a_dry_run_measures_and_keeps_nothing(live: Live) -> None:
    assert held_out(live.evaluate(dry_run=True))
    assert evaluations.latest(live.workshop.engine) == {}
    assert not live.workshop.layout.reports.exists()


def test_a_version_that_does_badly_is_told(live: Live) -> None:
    workshop = live.workshop
    workshop.rewrite("model.yaml", "threshold: 0.7", "threshold: 1.0")
    workshop.rewrite("model.yaml", "data: {", "triggers: {satisfaction: {below: 0.8}}\ndata: {")
    versions.put_spec(workshop.engine, workshop.family.spec)
    for _ in range(30):
        live.answer("above", 0.95, "below", right=False)
    told = live.evaluate().troubles
    assert [sentence.partition(" of ")[2] for sentence in told] == [
        f"{live.outcome.evaluation.count} samples of the evaluation set are right, under 100%",
        "30 late labels are right, under 100%",
        "30 votes say right, under 80%",
    ]


def test_without_an_evaluation_set_the_rest_is_measured_and_the_reason_told(live: Live) -> None:
    engine = live.workshop.engine
    for one in samples.all(engine, "line", synthetic=True):
        samples.remove(engine, "line", one.sha256)
    live.answer("above", 0.95, None, right=True)
    found = live.evaluate()
    assert (found.figures.held_out, found.figures.voted) == (None, 1)
    assert any("line has no evaluation set: add samples" in note for note in found.notes)


def test_samples_that_are_gone_or_of_unknown_labels_are_left_out_and_told(live: Live) -> None:
    workshop = live.workshop
    chosen = [one for one in samples.all(workshop.engine, "line", synthetic=True) if one.evaluation]
    (workshop.layout.blobs / chosen[0].path).unlink()
    strange = Sample("f" * 64, "beside", "g", Path("nowhere"), evaluation=True, source="")
    samples.add(workshop.engine, "line", [strange], synthetic=True)
    found = live.evaluate()
    assert held_out(found)["count"] == len(chosen) - 1
    assert "1 samples of labels that it was made without are left out" in found.notes
    assert "1 samples of the evaluation set are gone or cannot be read" in found.notes


@pytest.mark.parametrize("damage", ["gone", "damaged"])
def test_a_version_whose_archive_cannot_be_used_is_told_and_the_rest_measured(live: Live, damage: str) -> None:
    archive = live.workshop.layout.archives / f"{live.outcome.archive}.tar.gz"
    archive.unlink()
    if damage == "damaged":
        archive.write_bytes(b"something else")
    live.answer("above", 0.95, None, right=True)
    found = live.evaluate()
    assert (found.figures.held_out, found.figures.voted) == (None, 1)
    assert any(damage in note for note in found.notes)


def test_an_unknown_model_is_told(live: Live) -> None:
    with pytest.raises(CanariError, match="the models are: line"):
        evaluate(live.workshop.engine, live.settings, SINCE, UNTIL, model="birds")


def test_the_newest_report_is_kept_with_the_versions_run_in_mlflow(
    workshop: Workshop, postgres: EmbeddedPostgres | GivenPostgres, tmp_path: Path
) -> None:
    workshop.lineage_url = ensure_database(postgres.url(OWNER), f"lineage_{uuid4().hex[:12]}")
    outcome = workshop.train(Order(seed=1, generate=60))
    rollouts.deploy(workshop.engine, "line", 1, weight=100, actor="a test")
    live = Live(workshop, outcome)
    for _ in range(2):
        live.evaluate()
    registry = Registry(workshop.lineage_url, workshop.layout.mlflow)
    client = registry._client()
    (registered,) = client.search_model_versions("name = 'line'")
    assert [one.path for one in client.list_artifacts(registered.run_id, "live")] == ["live/evaluation.html"]
    page = Path(client.download_artifacts(registered.run_id, "live/evaluation.html", str(tmp_path)))
    assert "Evaluation of a live version" in page.read_text()
    assert not registry.attach("line", 9, "live/evaluation.html", page)
    admin = connect(postgres.url(OWNER), pool=1)
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        name = make_url(workshop.lineage_url).database
        connection.exec_driver_sql(f'DROP DATABASE "{name}" WITH (FORCE)')
    admin.dispose()


def test_a_version_keeps_its_newest_reports(tmp_path: Path) -> None:
    for number in range(60):
        reports.keep(tmp_path, f"m/1/evaluation-{number:03}.html", "a page")
    reports.keep(tmp_path, "m/1/diagnosis-000.html", "another")
    left = sorted(file.name for file in (tmp_path / "m" / "1").iterdir())
    assert left == ["diagnosis-000.html", *(f"evaluation-{number:03}.html" for number in range(12, 60))]


def test_past_evaluations_come_newest_first(live: Live) -> None:
    engine = live.workshop.engine
    for days in (3, 1, 2):
        moment = UNTIL - timedelta(days=days)
        evaluations.keep(engine, evaluations.measure(engine, "line", 1, moment - timedelta(hours=1), moment))
    found: list[LiveEvaluation] = evaluations.past(engine, "line", last=2)
    assert [one.until for one in found] == [UNTIL - timedelta(days=1), UNTIL - timedelta(days=2)]
    assert evaluations.past(engine, "line", last=2, version=2) == []
