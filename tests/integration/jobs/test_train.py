import fcntl
import json
import signal
from pathlib import Path

import pytest
from sqlalchemy import select

from canari.archive import unpack
from canari.bento import build_bento
from canari.errors import CanariError
from canari.export import onnx_scores
from canari.measures import read_reference
from canari.store import references, tables, versions
from canari.types import VersionState
from services.jobs.making import Order
from tests.integration.jobs.conftest import Workshop

GENERATED = Order(seed=1, generate=60)


def rows(folder: Path, count: int = 40) -> Path:
    for number in range(count):
        label = ("below", "above")[number % 2]
        (folder / label).mkdir(parents=True, exist_ok=True)
        x2 = (1 + number / 10) * (1 if label == "above" else -1)
        (folder / label / f"{number}.json").write_text(json.dumps({"x1": number / 40, "x2": x2}))
    return folder


def test_a_version_is_numbered_trained_measured_exported_and_archived(workshop: Workshop, tmp_path: Path) -> None:
    outcome = workshop.train(GENERATED)
    version = versions.version(workshop.engine, "line", 1)
    assert (version.state, version.archive, version.synthetic) == (VersionState.READY, outcome.archive, True)
    assert version.spec_hash == workshop.family.spec.hash
    assert version.metrics["accuracy"] == outcome.evaluation.document()["accuracy"] > 0.7
    assert version.metrics["training"]["difference"] < 1e-3
    assert version.metrics["libraries"]["onnxruntime"]
    unpack(outcome.archive, workshop.layout.archives / f"{outcome.archive}.tar.gz", tmp_path / "bento")
    held = json.loads((tmp_path / "bento/src/artifact/spec.json").read_text())
    assert held == workshop.family.spec.document()
    reference = references.read(workshop.engine, "line", 1)
    assert reference is not None
    assert read_reference((tmp_path / "bento/src/artifact/reference.json").read_bytes()) == reference
    assert reference.names == ("x1", "x2")
    assert [one.count for one in reference.measures] == [60 - outcome.evaluation.count] * 2
    assert sum(reference.answers.values()) == outcome.evaluation.count
    point = workshop.family.decode(b'{"x1": 0, "x2": 3}')[None]
    assert onnx_scores(tmp_path / "bento/src/artifact/model.onnx", point).argmax() == 1
    assert "bentos/line/model.py" in {
        file.relative_to(tmp_path / "bento/src").as_posix() for file in (tmp_path / "bento/src").rglob("*.py")
    }
    assert workshop.stages == ["generate", "decode", "held out", "train", "evaluate", "export", "lineage"]


def test_what_a_version_learned_from_is_kept_with_it(workshop: Workshop) -> None:
    workshop.train(GENERATED)
    with workshop.engine.connect() as connection:
        digest = connection.execute(select(tables.versions.c.manifest)).scalar_one()
        body = connection.execute(select(tables.manifests.c.body).filter_by(digest=digest)).scalar_one()
        stored = connection.execute(select(tables.samples.c.sha256, tables.samples.c.synthetic)).all()
    assert {one["sha256"] for one in body["samples"]} == {one.sha256 for one in stored}
    assert all(one.synthetic for one in stored)


def test_training_leaves_no_work_behind_and_the_next_version_has_the_next_number(workshop: Workshop) -> None:
    assert [workshop.train(GENERATED).number for _ in range(2)] == [1, 2]
    assert list((workshop.layout.training / "line").iterdir()) == []


def test_a_killed_run_is_continued_by_the_same_command_under_its_number(workshop: Workshop) -> None:
    workshop.rewrite(
        "train.py",
        "    columns = ",
        "    import os, signal\n"
        "    run.checkpoints.mkdir(parents=True, exist_ok=True)\n"
        "    if not (run.checkpoints / 'half').exists():\n"
        "        (run.checkpoints / 'half').touch()\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    columns = ",
    )
    command = ("train", "line", "--generate", "60", "--json")
    assert workshop.run(*command).returncode == -signal.SIGKILL
    assert versions.version(workshop.engine, "line", 1).state is VersionState.BUILDING
    done = workshop.run(*command)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["version"] == 1
    assert [v.state for v in versions.versions(workshop.engine, "line")] == [VersionState.READY]


def test_a_killed_run_of_another_specification_is_not_continued(workshop: Workshop) -> None:
    workshop.train(GENERATED)
    with workshop.engine.begin() as connection:
        connection.execute(tables.versions.update().values(state="building"))
    workshop.rewrite("model.yaml", "threshold: 0.7", "threshold: 0.6")
    assert workshop.train(GENERATED).number == 2
    first = versions.version(workshop.engine, "line", 1)
    assert first.state is VersionState.FAILED
    assert "the specification changed" in (first.error or "")


def test_a_version_that_cannot_be_made_is_kept_as_failed_with_the_reason(workshop: Workshop) -> None:
    workshop.rewrite("train.py", "    columns = ", "    raise ArithmeticError('no line was found')\n    columns = ")
    with pytest.raises(ArithmeticError):
        workshop.train(GENERATED)
    version = versions.version(workshop.engine, "line", 1)
    assert (version.state, version.error) == (VersionState.FAILED, "no line was found")
    assert list((workshop.layout.training / "line").iterdir()) == []


def test_a_version_under_the_threshold_is_refused_with_both_figures(workshop: Workshop) -> None:
    workshop.rewrite("model.yaml", "threshold: 0.7", "threshold: 1.0")
    workshop.rewrite("data.py", "_NOISE = 0.25", "_NOISE = 3")
    with pytest.raises(
        CanariError, match=r"accuracy of \d+\.\d% on \d+ held-out samples is under the threshold of 100"
    ):
        workshop.train(GENERATED)
    assert versions.version(workshop.engine, "line", 1).state is VersionState.FAILED
    assert not list(workshop.layout.archives.iterdir())


def test_one_model_is_trained_once_at_a_time(workshop: Workshop) -> None:
    workshop.layout.training.mkdir()
    with (workshop.layout.training / "line.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(CanariError, match="line is being trained already"):
            workshop.train(GENERATED)
    assert workshop.train(GENERATED).number == 1


def test_a_folder_is_trained_on_and_what_was_skipped_is_said(workshop: Workshop, tmp_path: Path) -> None:
    folder = rows(tmp_path / "rows")
    (folder / "above" / "broken.json").write_text("{")
    done = workshop.run("train", "line", "--data", str(folder))
    assert done.returncode == 0, done.stderr
    said, skipped = done.stdout.splitlines()
    assert said.startswith("line 1 is ready: ")
    assert said.endswith("1 skipped:")
    assert skipped.strip().startswith("above/broken.json: The row is not JSON")
    assert not versions.version(workshop.engine, "line", 1).synthetic
    assert "MLflow could not keep the lineage of line 1" in done.stderr


def test_samples_that_were_added_are_learned_from(workshop: Workshop, tmp_path: Path) -> None:
    folder = rows(tmp_path / "rows")
    (folder / "notes.txt").touch()
    for added in (40, 0):
        done = workshop.run("add", "line", str(folder), "--json")
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert (result["found"], result["added"], list(result["skipped"])) == (40, added, ["notes.txt"])
    assert workshop.run("add", "line", str(folder)).stdout.startswith("line: 0 new samples of 40; 1 skipped:")
    for file in folder.rglob("*.json"):
        file.unlink()
    outcome = workshop.train(Order())
    assert outcome.number == 1
    assert not outcome.synthetic


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("line",), "line has no samples to learn from: add some with `canari data add line DIR`"),
        (("line", "--data", "/nowhere"), "/nowhere is not a folder"),
        (("lime",), "there is no model 'lime'"),
        (("line", "--generate", "4", "--data", "/nowhere"), "not on both"),
        (("line", "--option", "width"), "an option is written KEY=VALUE, not 'width'"),
        (("line", "--generate", "2"), "none of the 2 samples falls into the evaluation set"),
    ],
)
def test_what_a_person_can_mend_is_said_in_one_line(workshop: Workshop, arguments: tuple[str, ...], why: str) -> None:
    done = workshop.run("train", *arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert why in last
    assert versions.versions(workshop.engine, "line") == []


def test_a_job_without_a_database_says_what_to_use_instead(workshop: Workshop) -> None:
    workshop.app_url = ""
    done = workshop.run("train", "line", "--demo")
    assert done.returncode == 1
    assert "on a laptop use `canari train`" in done.stderr


def test_a_bento_that_cannot_be_built_is_told_in_bentomls_words(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    with pytest.raises(CanariError, match="BentoML could not build line:-1: ValueError: -1 is not a valid BentoML tag"):
        build_bento(workshop.family, tmp_path, "-1", workshop.layout)


def test_a_bento_that_a_killed_run_left_is_replaced(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"half")
    bento = build_bento(workshop.family, tmp_path, "3", workshop.layout)
    (tmp_path / "model.onnx").write_bytes(b"whole")
    assert build_bento(workshop.family, tmp_path, "3", workshop.layout) == bento
    assert (bento / "src/artifact/model.onnx").read_bytes() == b"whole"
    assert "version: '3'" in (bento / "bento.yaml").read_text()
