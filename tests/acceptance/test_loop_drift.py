"""Drift, seen by a real version's own bento: what moved is flagged, and what did not is left alone.

Every input goes through the runtime's data plane of a version that was trained and archived as always; what is weighed
is the places that it would record.
"""

from __future__ import annotations

import asyncio
import io
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from bentos.drift.data import generate
from canari.archive import unpack
from canari.drift import Drift, assess
from canari.family import find_family
from canari.measures import PLACES, Reference
from canari.runtime.config import read_config
from canari.runtime.engine import OnnxEngine
from canari.runtime.plane import Answer, DataPlane, Question
from services.jobs.making import Order
from services.jobs.pack import pack_version
from tests.acceptance.conftest import FULL, Figures
from tests.conftest import ROOT

pytestmark = pytest.mark.timeout(3600)
EVALUATIONS = 200
MOST_FLAGGED = 0.05
TRAINED_ON = 2_000
SHIFTS = (0.1, 0.25, 0.5, 1.0)
SIZES = (50, 200, 1_000, 5_000) if FULL else (50, 200, 1_000)
REPEATS = 40 if FULL else 10
BLOCK = 256
WEIGHTS = "mobilenet_v2_0.35_224_imagenet_notop.npz"


@dataclass
class Served:
    """A version's data plane, and what it holds its inputs against."""

    plane: DataPlane
    reference: Reference

    def ask(self, payloads: Sequence[bytes]) -> list[Answer]:
        """Each payload's answer."""
        found: list[Answer] = []
        for start in range(0, len(payloads), BLOCK):
            read = partial(Question, tuple(payloads[start : start + BLOCK]))
            found += asyncio.run(self.plane.ask(read, time.monotonic() + 60)).answers
        return found

    def drift(self, payloads: Sequence[bytes]) -> Drift:
        """What an evaluation says of a window of these."""
        return weighed(self.reference, self.ask(payloads))


def weighed(reference: Reference, answers: Sequence[Answer]) -> Drift:
    places = np.array([answer.bins for answer in answers])
    counts = {name: np.bincount(places[:, at], minlength=PLACES) for at, name in enumerate(reference.names)}
    return assess(reference, counts, Counter(answer.label for answer in answers))


def ignore(_stage: str, _done: int, _total: int, _figures: Mapping[str, float]) -> None:
    """Progress is not shown."""


def serve(name: str, order: Order, folder: Path) -> Served:
    """Train a version, and start what its bento answers with."""
    family = find_family(ROOT / "bentos", name)
    package = pack_version(family, order, folder / "packages", ignore)
    unpack(package.archive, package.folder / f"{package.archive}.tar.gz", folder / "bento")
    config = read_config(folder / "bento" / "src" / "artifact", {})
    reference = config.reference()
    assert reference is not None
    decode = family._module("model").decode
    plane = DataPlane(config.spec, OnnxEngine(config.model_file, 1), decode, 1, reference)
    plane.warm_up()
    return Served(plane, reference)


def points(count: int, seed: int, shift: float = 0.0) -> list[bytes]:
    return [one.content for one in generate(count, seed, shift)]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return serve("drift", Order(seed=1, generate=TRAINED_ON), tmp_path_factory.mktemp("line"))


def test_4_without_a_shift_few_evaluations_flag(line: Served, figures: Figures) -> None:
    for size in (100, 1_000):
        flagged = sum(line.drift(points(size, seed=10_000 + seed)).flagged for seed in range(EVALUATIONS))
        figures.at_most(
            f"share of {EVALUATIONS} evaluations of {size:,} unshifted inputs that flag",
            flagged / EVALUATIONS,
            MOST_FLAGGED,
            ".3f",
        )


def test_4_a_shifted_generator_is_flagged(line: Served, figures: Figures) -> None:
    power: dict[tuple[float, int], float] = {}
    for shift in SHIFTS:
        for size in SIZES:
            found = [line.drift(points(size, seed, shift)).flagged for seed in range(REPEATS)]
            power[shift, size] = sum(found) / REPEATS
        told = ", ".join(f"{power[shift, size]:.0%} of {size:,}" for size in SIZES)
        figures.note(f"the line moved by {shift:g}: flagged by {told} inputs")
    figures.at_least("share flagged, the line moved by 1, 200 inputs", power[1.0, 200], 0.95)
    figures.at_least("share flagged, the line moved by 0.5, 1,000 inputs", power[0.5, 1_000], 0.95)
    figures.at_most("share flagged, the line moved by 0.1, 1,000 inputs: a trifle", power[0.1, 1_000], 0.05, ".2f")
    moved = line.drift(points(1_000, 0, 1.0))
    figures.true(moved.sentences[0], holds=moved.sentences[0].startswith("x2 moved: "))


@pytest.fixture(scope="module")
def photos(real_data: Path | None) -> tuple[Path, list[Path], list[Path]]:
    """The folder of real data, and photos of cats and dogs to train on and to ask about."""
    assert real_data is not None, "set CANARI_TEST_DATA to the folder that holds cats_dogs/, mushrooms/ and weights/"
    files = sorted((real_data / "cats_dogs").glob("[cd]*/*.jpg"))
    random.Random(4).shuffle(files)
    return real_data, files[::2], files[1::2]


@pytest.fixture(scope="module")
def pets(photos: tuple[Path, list[Path], list[Path]], tmp_path_factory: pytest.TempPathFactory) -> Served:
    data, learned, _ = photos
    folder = tmp_path_factory.mktemp("pets")
    for file in learned:
        (folder / "photos" / file.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / "photos" / file.parent.name / file.name)
    options = {"base_weights": str(data / "weights" / WEIGHTS)}
    return serve("cats_dogs", Order(data=folder / "photos", options=options), folder)


def changed(photo: bytes, *, light: float = 1.0, blur: float = 0.0) -> bytes:
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(photo)) as image:
        darker = image.convert("RGB").point(lambda level: round(level * light))
        darker.filter(ImageFilter.GaussianBlur(blur * min(image.size) / 180)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def read(files: Iterable[Path]) -> list[bytes]:
    return [file.read_bytes() for file in files]


def test_4_real_photos_that_changed_are_flagged(
    pets: Served, photos: tuple[Path, list[Path], list[Path]], figures: Figures
) -> None:
    data, _, unseen = photos
    usual = read(unseen)
    figures.note(f"{len(usual)} photos beside a reference of {[one.count for one in pets.reference.measures]}")
    same = pets.drift(usual)
    figures.true(f"photos of the same kind: {'; '.join(same.sentences)}", holds=not same.flagged)
    others = {
        "half as light": [changed(photo, light=0.5) for photo in usual],
        "blurred": [changed(photo, blur=2.5) for photo in usual],
        "mushrooms": read(sorted((data / "mushrooms").rglob("*.jpg"))[: len(usual)]),
    }
    for what, asked in others.items():
        found = pets.drift(asked)
        figures.true(f"{what} ({len(asked)}): {'; '.join(found.sentences[:2])}", holds=found.flagged)


def test_4_unchanged_photos_are_left_alone(
    pets: Served, photos: tuple[Path, list[Path], list[Path]], figures: Figures
) -> None:
    answers = pets.ask(read(photos[2]))
    places = np.array([answer.bins for answer in answers])
    flagged = 0
    for seed in range(EVALUATIONS):
        order = np.random.default_rng(seed).permutation(len(answers))
        held_out, asked = order[: len(order) // 2], order[len(order) // 2 :]
        measures = [
            replace(measure, counts=tuple(np.bincount(places[held_out, at], minlength=PLACES).tolist()))
            for at, measure in enumerate(pets.reference.measures)
        ]
        flagged += weighed(replace(pets.reference, measures=tuple(measures)), [answers[at] for at in asked]).flagged
    share = flagged / EVALUATIONS
    figures.at_most(
        f"share of {EVALUATIONS} halves of the photos that flag beside the other half", share, MOST_FLAGGED, ".3f"
    )
