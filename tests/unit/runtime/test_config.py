from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from canari.errors import CanariError
from canari.runtime.config import RuntimeConfig, available_cpus, read_config
from canari.tokens import Scope
from tests.unit.runtime.kit import PUBLIC_KEY, photo_spec, token

BENTO_TOKEN = token(Scope.RECORD, models=("colours",), version=3)
PLATFORM = {
    "CANARI_TOKEN": BENTO_TOKEN,
    "CANARI_PUBLIC_KEY": PUBLIC_KEY.decode(),
    "CANARI_FEEDBACK_URL": "unix:/run/feedback.sock",
    "CANARI_SPOOL_DIR": "/spool",
}


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    (tmp_path / "spec.json").write_text(json.dumps(photo_spec(access={"anonymous": False}).document()))
    return tmp_path


def test_the_version_comes_from_the_bentos_token(artifact: Path) -> None:
    config = read_config(artifact, PLATFORM)
    assert config.version == 3
    assert config.platform
    assert (config.platform.feedback_url, config.platform.spool) == ("unix:/run/feedback.sock", Path("/spool"))
    assert config.verifier
    assert not config.spec.access.anonymous
    assert config.model_file == artifact / "model.onnx"


def test_without_a_token_a_bento_answers_everyone_and_records_nothing(artifact: Path) -> None:
    config = read_config(artifact, {})
    assert (config.version, config.platform, config.verifier) == (0, None, None)
    assert config.spec.access.anonymous


def live(**changes: object) -> dict[str, str]:
    document = photo_spec(abstain={"below": 0.7, "label": "unknown"}).document()
    return {**PLATFORM, "CANARI_SPEC": json.dumps({**document, **changes})}


def test_access_serving_and_abstention_are_the_live_ones_the_rest_is_built_in(artifact: Path) -> None:
    config = read_config(artifact, live(labels=["a", "b", "c"], serving={"concurrency": 5}))
    assert config.spec.access.anonymous
    assert config.spec.serving.concurrency == 5
    assert config.spec.abstain
    assert config.spec.abstain.below == 0.7
    assert config.spec.labels == ("red", "blue")
    assert read_config(artifact, live(abstain=None)).spec.abstain is None


def test_whether_inputs_are_kept_is_told_live_and_an_older_platform_keeps_none(artifact: Path) -> None:
    for said in ("never", "consented", "always"):
        config = read_config(artifact, live(data={"retain_inputs": said, "train_on": "of another release"}))
        assert config.spec.retains == said
    assert read_config(artifact, live(data={})).spec.retains == "never"


def test_fields_and_engines_that_came_after_the_build_do_no_harm(artifact: Path) -> None:
    config = read_config(artifact, live(serving={"engine": "openvino", "streams": 4}, access={"robots": True}))
    assert config.spec.serving.engine == "onnxruntime"
    assert not config.spec.access.anonymous


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"name": "colours", "serving": {"concurrency": 0}}', '"x"'])
def test_a_wrong_live_specification_is_named(artifact: Path, text: str) -> None:
    with pytest.raises(CanariError, match="CANARI_SPEC"):
        read_config(artifact, {**PLATFORM, "CANARI_SPEC": text})


def test_another_models_specification_is_refused(artifact: Path) -> None:
    with pytest.raises(CanariError, match="'other', but this bento serves 'colours'"):
        read_config(artifact, live(name="other"))


@pytest.mark.parametrize("missing", ["CANARI_PUBLIC_KEY", "CANARI_FEEDBACK_URL", "CANARI_SPOOL_DIR"])
def test_a_platform_half_told_is_refused(artifact: Path, missing: str) -> None:
    with pytest.raises(CanariError, match=missing):
        read_config(artifact, {name: value for name, value in PLATFORM.items() if name != missing})


@pytest.mark.parametrize(
    "wrong",
    [
        "nonsense",
        token(Scope.RECORD, models=("colours",)),
        token(Scope.RECORD, models=("other",), version=3),
        token(Scope.RECORD, models=("*",), version=3),
        token(Scope.ADMIN, models=("colours",), version=3),
        token(Scope.RECORD, models=("colours",), version=3, hours=-1),
    ],
)
def test_a_token_that_is_not_this_bentos_is_refused(artifact: Path, wrong: str) -> None:
    with pytest.raises(CanariError, match="CANARI_TOKEN"):
        read_config(artifact, {**PLATFORM, "CANARI_TOKEN": wrong})


def test_a_wrong_public_key_is_named(artifact: Path) -> None:
    with pytest.raises(CanariError, match="CANARI_PUBLIC_KEY"):
        read_config(artifact, {**PLATFORM, "CANARI_PUBLIC_KEY": "nonsense"})


def test_a_missing_or_wrong_built_specification_is_named(tmp_path: Path) -> None:
    with pytest.raises(CanariError, match=r"spec\.json: there is no such file"):
        read_config(tmp_path, {})
    (tmp_path / "spec.json").write_text("{}")
    with pytest.raises(CanariError, match=r"spec\.json: this is not the specification"):
        read_config(tmp_path, {})


def cpus(artifact: Path, **environment: str) -> RuntimeConfig:
    return read_config(artifact, environment)


def test_workers_share_the_cpus(artifact: Path) -> None:
    assert cpus(artifact, CANARI_CPUS="8").cpus == 8
    assert cpus(artifact, CANARI_CPUS="1.5").cpus == 1
    assert cpus(artifact, CANARI_CPUS="8", CANARI_WORKERS="3").cpus == 2
    assert cpus(artifact, CANARI_CPUS="2", CANARI_WORKERS="3").cpus == 1


@pytest.mark.parametrize("text", ["0", "-1", "many", "inf"])
def test_a_wrong_number_is_named(artifact: Path, text: str) -> None:
    with pytest.raises(CanariError, match="CANARI_CPUS"):
        cpus(artifact, CANARI_CPUS=text)


def test_the_cgroups_quota_bounds_the_cpus(tmp_path: Path) -> None:
    everything = len(os.sched_getaffinity(0))
    assert available_cpus(tmp_path) == everything
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert available_cpus(tmp_path) == everything
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert available_cpus(tmp_path) == 1
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert available_cpus(tmp_path) == 1


def test_the_first_cgroups_quota_counts_too(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("100000\n")
    assert available_cpus(tmp_path) == 1
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("-1\n")
    assert available_cpus(tmp_path) == len(os.sched_getaffinity(0))
