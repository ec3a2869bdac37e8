import json

import numpy as np
import pytest

from canari.errors import CanariError
from canari.evaluation import Evaluation, evaluate
from canari.evaluation_chart import draw

LABELS = ("cat", "dog")


def measured(rows: list[tuple[float, int]], **options: float) -> Evaluation:
    """Each row is the probability of dog and what it really was."""
    scores = np.array([[1 - dog, dog] for dog, _ in rows], np.float32)
    return evaluate(scores, np.array([truth for _, truth in rows]), LABELS, **options)


def test_accuracy_precision_recall_and_f1_are_those_of_the_confusion_matrix() -> None:
    found = measured([(0.1, 0), (0.2, 0), (0.9, 0), (0.8, 1), (0.3, 1)])
    assert found.confusion == ((2, 1), (1, 1))
    assert found.accuracy == pytest.approx(3 / 5)
    cat, dog = found.per_label["cat"], found.per_label["dog"]
    assert (cat.precision, cat.recall, cat.f1, cat.support) == pytest.approx((2 / 3, 2 / 3, 2 / 3, 3))
    assert (dog.precision, dog.recall, dog.f1, dog.support) == pytest.approx((1 / 2, 1 / 2, 1 / 2, 2))
    assert found.macro_f1 == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_accuracy_comes_with_wilsons_interval() -> None:
    found = measured([(0.9, 1)] * 8 + [(0.1, 1)] * 2)
    assert (found.accuracy_low, found.accuracy_high) == pytest.approx((0.490162, 0.943318), abs=1e-6)


def test_a_label_never_answered_has_no_precision_and_an_absent_one_no_recall() -> None:
    found = measured([(0.1, 0), (0.2, 1)])
    assert found.per_label["dog"].precision is None
    assert found.per_label["dog"].f1 == 0
    found = measured([(0.1, 0), (0.9, 0)])
    assert found.per_label["dog"].recall is None
    absent = measured([(0.1, 0)])
    assert absent.per_label["dog"].f1 is None
    assert absent.macro_f1 == 1


def test_calibration_error_is_the_gap_between_certainty_and_accuracy() -> None:
    found = measured([(0.75, 1)] * 3 + [(0.75, 0)])
    assert found.calibration_error == pytest.approx(0)
    found = measured([(1.0, 1)] * 3 + [(1.0, 0)])
    assert found.calibration_error == pytest.approx(0.25)
    (only,) = found.bins
    assert (only.lower, only.upper, only.count, only.accuracy) == pytest.approx((0.9, 1.0, 4, 0.75))


def test_coverage_is_the_share_that_does_not_abstain() -> None:
    found = measured([(0.9, 1), (0.95, 1), (0.52, 0), (0.1, 1)], abstain_below=0.6)
    assert found.coverage == pytest.approx(3 / 4)
    assert found.answered_accuracy == pytest.approx(2 / 3)
    assert measured([(0.52, 0)], abstain_below=0.6).answered_accuracy is None


def test_answers_that_are_no_numbers_mean_that_training_diverged() -> None:
    with pytest.raises(CanariError, match="diverged"):
        measured([(float("nan"), 1)])


@pytest.mark.parametrize("rows", [0, 2])
def test_scores_that_do_not_fit_are_refused(rows: int) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        evaluate(np.zeros((rows, 3), np.float32), np.zeros(rows, np.int64), LABELS)


def test_the_figures_are_json() -> None:
    document = json.loads(json.dumps(measured([(0.9, 1), (0.2, 1)], abstain_below=0.5).document()))
    assert document["accuracy"] == 0.5
    assert document["labels"]["dog"]["support"] == 2
    assert document["labels"]["cat"]["recall"] is None


@pytest.mark.parametrize("labels", [2, 20, 60])
def test_the_picture_is_a_png_whatever_the_number_of_labels(labels: int) -> None:
    scores = np.random.default_rng(0).dirichlet(np.ones(labels), 100).astype(np.float32)
    truth = np.arange(100) % labels
    found = evaluate(scores, truth, [f"label {number}" for number in range(labels)])
    assert draw(found, "a model").startswith(b"\x89PNG")
