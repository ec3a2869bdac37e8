import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bentos.cats_dogs.data import generate
from canari import dataset
from canari.errors import CanariError, Problem
from canari.family import Examples, Family, find_family
from canari.spec import InputKind
from canari.types import Sample
from tests.conftest import ROOT

CATS_DOGS = find_family(ROOT / "bentos", "cats_dogs")
DRIFT = find_family(ROOT / "bentos", "drift")


def pictures(folder: Path, count: int = 12) -> Path:
    for number, raw in enumerate(generate(count, seed=1)):
        (folder / raw.label).mkdir(parents=True, exist_ok=True)
        (folder / raw.label / f"{number}.jpg").write_bytes(raw.content)
    return folder


def points(count: int, label: str = "above", *, start: int = 0) -> list[Sample]:
    rows = [json.dumps({"x1": start + number, "x2": 0}).encode() for number in range(count)]
    return [dataset.sample(row, label, Path("row"), "test", DRIFT) for row in rows]


def examples(labels: list[int], groups: list[int]) -> Examples:
    return Examples(np.zeros((len(labels), 1), np.float32), np.array(labels), np.array(groups))


def test_a_folder_per_label_is_read_and_described(tmp_path: Path) -> None:
    found = dataset.read_folder(pictures(tmp_path), CATS_DOGS)
    assert len(found.samples) == 12
    assert {one.label for one in found.samples} == {"cat", "dog"}
    assert found.skipped == ()
    one = found.samples[0]
    assert one.path.is_absolute()
    assert one.source == one.path.relative_to(tmp_path).as_posix()
    assert one.group.startswith("phash:")


def test_a_file_that_cannot_be_used_is_skipped_named_and_told_why(tmp_path: Path) -> None:
    pictures(tmp_path)
    (tmp_path / "cat" / "notes.txt").write_text("not a cat")
    (tmp_path / "cat" / "empty.jpg").touch()
    whole = (tmp_path / "cat" / "0.jpg").read_bytes()
    (tmp_path / "dog" / "half.jpg").write_bytes(whole[: len(whole) // 2])
    found = dataset.read_folder(tmp_path, CATS_DOGS)
    skipped = dict(found.skipped)
    assert set(skipped) == {"cat/notes.txt", "cat/empty.jpg", "dog/half.jpg"}
    assert all("accepted" in why for why in skipped.values())
    assert len(found.samples) == 12


def test_what_is_in_no_labels_folder_is_named_once(tmp_path: Path) -> None:
    pictures(tmp_path)
    (tmp_path / "manifest.csv").write_text("file,label")
    shutil.copytree(tmp_path / "cat", tmp_path / "originals")
    skipped = dict(dataset.read_folder(tmp_path, CATS_DOGS).skipped)
    assert skipped == dict.fromkeys(("manifest.csv", "originals"), "not in a label's folder; the labels are cat, dog")


def test_the_same_content_counts_once(tmp_path: Path) -> None:
    pictures(tmp_path)
    shutil.copy(tmp_path / "cat" / "0.jpg", tmp_path / "cat" / "copy.jpg")
    found = dataset.read_folder(tmp_path, CATS_DOGS)
    assert len(found.samples) == 12
    assert found.skipped == (("cat/copy.jpg", "the same content as cat/0.jpg"),)


def test_the_same_content_under_two_labels_is_not_used_at_all(tmp_path: Path) -> None:
    pictures(tmp_path)
    shutil.copy(tmp_path / "cat" / "0.jpg", tmp_path / "dog" / "copy.jpg")
    found = dataset.read_folder(tmp_path, CATS_DOGS)
    assert len(found.samples) == 11
    assert {name for name, _ in found.skipped} == {"cat/0.jpg", "dog/copy.jpg"}


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CanariError, match="is not a folder"):
        dataset.read_folder(tmp_path / "none", CATS_DOGS)


def test_an_unknown_label_is_refused() -> None:
    with pytest.raises(Problem, match="'beside' is not one of the labels below, above"):
        dataset.sample(b'{"x1": 1, "x2": 2}', "beside", Path("row"), "test", DRIFT)


def test_the_evaluation_set_takes_its_share_of_the_groups() -> None:
    held_out = sum(dataset.held_out(f"group {number}", 0.2) for number in range(5000))
    assert 900 < held_out < 1100


def test_a_group_never_changes_sides() -> None:
    assert [dataset.held_out(f"group {number}", 0.2) for number in range(10)] == [
        dataset.held_out(f"group {number}", 0.2) for number in range(10)
    ]
    small = {number for number in range(500) if dataset.held_out(f"group {number}", 0.1)}
    large = {number for number in range(500) if dataset.held_out(f"group {number}", 0.3)}
    assert small < large
    # Written down, because a change here would move examples that versions were trained on into their evaluation.
    assert sorted(small)[:3] == [23, 41, 46]


def test_rows_are_grouped_by_their_content_and_photos_by_their_looks() -> None:
    assert dataset.group_of(b"{}", InputKind.TABULAR).startswith("sha256:")
    photo = next(generate(1, 0)).content
    assert dataset.group_of(photo, InputKind.IMAGE) == dataset.group_of(photo, InputKind.IMAGE)


def test_a_manifest_has_one_order_and_one_digest() -> None:
    samples = points(20) + points(20, "below", start=100)
    one = dataset.manifest(DRIFT, samples, synthetic=False)
    other = dataset.manifest(DRIFT, [*reversed(samples), samples[0]], synthetic=False)
    assert one.samples == other.samples
    assert dataset.digest(one) == dataset.digest(other)
    fewer = dataset.manifest(DRIFT, samples[1:], synthetic=False)
    assert dataset.digest(fewer) != dataset.digest(one)


def test_a_manifest_written_down_says_what_was_learned_judged_and_skipped() -> None:
    manifest = dataset.manifest(
        DRIFT, points(20) + points(20, "below", start=100), synthetic=True, skipped=[("a.txt", "not a row")]
    )
    document = json.loads(json.dumps(dataset.document(manifest)))
    assert document["synthetic"] is True
    assert document["skipped"] == [["a.txt", "not a row"]]
    assert len(document["samples"]) == 40
    assert set(document["samples"][0]) == {"sha256", "label", "group", "evaluation"}


def test_a_dataset_that_lacks_a_label_is_refused_with_what_to_add() -> None:
    with pytest.raises(CanariError, match=r"nothing to learn below from .* add samples of below"):
        dataset.manifest(DRIFT, points(20), synthetic=False)


def test_a_dataset_whose_evaluation_set_is_empty_is_refused() -> None:
    learned = [one for one in points(20) + points(20, "below", start=100) if not one.evaluation]
    with pytest.raises(CanariError, match=r"none of the .* falls into the evaluation set"):
        dataset.manifest(DRIFT, learned, synthetic=False)


def test_a_dataset_whose_training_side_lacks_a_label_is_refused() -> None:
    samples = points(20) + [one for one in points(20, "below", start=100) if one.evaluation]
    with pytest.raises(CanariError, match="held out for evaluation"):
        dataset.manifest(DRIFT, samples, synthetic=False)


def stored(tmp_path: Path, family: Family = DRIFT) -> list[Sample]:
    rows = {"a": b'{"x1": 1, "x2": 2}', "b": b'{"x1": 3, "x2": 4}'}
    for name, row in rows.items():
        (tmp_path / name).write_bytes(row)
    return [
        dataset.sample(rows["a"], "below", Path("a"), "a", family),
        dataset.sample(rows["b"], "above", tmp_path / "b", "b", family),
    ]


def test_samples_are_decoded_from_the_store_or_from_where_they_lie(tmp_path: Path) -> None:
    progress: list[tuple[int, int]] = []
    loaded = dataset.load(stored(tmp_path), DRIFT, tmp_path, tmp_path / "x.npy", lambda *step: progress.append(step))
    assert loaded.inputs.tolist() == [[1, 2], [3, 4]]
    assert loaded.labels.tolist() == [0, 1]
    assert len(set(loaded.groups.tolist())) == 2
    assert progress == [(1, 2), (2, 2)]


def test_a_sample_that_changed_since_it_was_listed_is_refused(tmp_path: Path) -> None:
    samples = stored(tmp_path)
    (tmp_path / "a").write_text('{"x1": 9, "x2": 9}')
    with pytest.raises(CanariError, match="has changed"):
        dataset.load(samples, DRIFT, tmp_path, tmp_path / "x.npy")


def test_a_sample_that_is_gone_or_cannot_be_read_is_left_out_and_told(tmp_path: Path) -> None:
    samples = stored(tmp_path)
    (tmp_path / "b").unlink()
    (tmp_path / "c").write_bytes(b"no row")
    broken = Sample(hashlib.sha256(b"no row").hexdigest(), "above", "g", Path("c"), evaluation=False, source="c")
    told: list[tuple[str, str]] = []
    loaded = dataset.load(
        [broken, *samples], DRIFT, tmp_path, tmp_path / "x.npy", skip=lambda one, why: told.append((one.source, why))
    )
    assert (loaded.inputs.tolist(), loaded.labels.tolist(), len(loaded.groups)) == ([[1, 2]], [0], 1)
    assert [name for name, _ in told] == ["c", "b"]
    assert told[0][1].startswith("The row is not JSON")
    assert told[1][1] == "it is gone"


def test_class_weights_make_every_label_weigh_the_same() -> None:
    labels = np.array([0, 0, 0, 1])
    weights = dataset.class_weights(labels, 3)
    assert weights.tolist() == pytest.approx([2 / 3, 2, 1])
    assert weights[labels].sum() == pytest.approx(len(labels))


def test_no_samples_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(CanariError, match="there are no samples to load"):
        dataset.load([], DRIFT, tmp_path, tmp_path / "x.npy")


def test_a_validation_part_divides_no_group_and_takes_its_share_of_each_label() -> None:
    labels = [0] * 60 + [1] * 20
    groups = [number // 2 for number in range(80)]
    learned, validated = dataset.split(examples(labels, groups), 0.2, seed=3)
    assert sorted([*learned, *validated]) == list(range(80))
    assert not {groups[row] for row in learned} & {groups[row] for row in validated}
    assert sum(labels[row] == 0 for row in validated) in {12, 14}
    assert sum(labels[row] == 1 for row in validated) in {4, 6}


def test_a_label_with_one_group_is_learned_from() -> None:
    learned, validated = dataset.split(examples([0, 0, 1, 1, 1], [0, 0, 1, 2, 3]), 0.2, seed=0)
    assert {0, 1} <= set(learned.tolist())
    assert len(validated) == 1
