"""Point values against scikit-learn, hand arithmetic and invariances."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from tenuto.scoring import metrics

LABELS = ("one", "two", "three")


@pytest.fixture
def answers() -> tuple[np.ndarray, np.ndarray]:
    """Truth (200,) and probabilities (200, 5); class 4 is never true but sometimes predicted."""
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 4, 200)
    scores = rng.random((200, 5)) + 0.5 * np.eye(5)[truth]
    return truth, scores / scores.sum(axis=1, keepdims=True)


def test_overall_agrees_with_scikit_learn(answers: tuple[np.ndarray, np.ndarray]) -> None:
    truth, probabilities = answers
    predicted = probabilities.argmax(axis=1)
    assert 4 in predicted
    found = metrics.overall(truth, predicted, probabilities)
    assert found["macro_f1"] == pytest.approx(sk.f1_score(truth, predicted, labels=range(4), average="macro"))
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(truth, predicted))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it remarks on the class that is only predicted
        assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(truth, predicted))


def test_a_class_without_a_test_clip_does_not_count() -> None:
    assert metrics.macro_f1([0, 0, 1], [0, 0, 2]) == pytest.approx((1.0 + 0.0) / 2)
    assert metrics.macro_recall(["a", "a"], ["a", "b"]) == 0.5


def test_calibration_error_by_hand() -> None:
    # two answers at 0.8 with one right (distance 0.3), two at 0.6 both right (distance 0.4): mean 0.35
    probabilities = np.array([[0.8, 0.2], [0.8, 0.2], [0.6, 0.4], [0.6, 0.4]])
    assert metrics.expected_calibration_error(np.array([0, 1, 0, 0]), probabilities) == pytest.approx(0.35)


def test_certain_and_right_is_perfectly_calibrated() -> None:
    assert metrics.expected_calibration_error(np.arange(3), np.eye(3)) == 0
    assert metrics.expected_calibration_error((np.arange(3) + 1) % 3, np.eye(3)) == 1


def test_metrics_ignore_the_order_of_clips_and_of_classes(answers: tuple[np.ndarray, np.ndarray]) -> None:
    truth, probabilities = answers
    rng = np.random.default_rng(0)
    clips, classes = rng.permutation(len(truth)), rng.permutation(5)
    moved, p = np.argsort(classes)[truth][clips], probabilities[:, classes][clips]
    shuffled = metrics.overall(moved, p.argmax(axis=1), p)
    assert shuffled == pytest.approx(metrics.overall(truth, probabilities.argmax(axis=1), probabilities))


def test_per_class_and_confusion_keep_the_order_of_the_labels() -> None:
    truth, predicted = np.array([0, 0, 0, 2]), np.array([0, 0, 2, 2])
    found = metrics.per_class(truth, predicted, LABELS, np.eye(3)[predicted])
    assert list(found) == list(LABELS)
    assert found["one"] == pytest.approx({"precision": 1.0, "recall": 2 / 3, "f1": 0.8, "support": 3})
    assert found["two"] == {"precision": 0, "recall": 0, "f1": 0, "support": 0}
    assert found["three"]["precision"] == 0.5
    assert metrics.confusion(truth, predicted, 3) == [[2, 0, 1], [0, 0, 0], [0, 0, 1]]


def test_a_class_that_the_model_does_not_know_has_probability_zero() -> None:
    known = np.array([[0.7, 0.3]])
    assert metrics.aligned(known, ("two", "one"), LABELS).tolist() == [[0.3, 0.7, 0.0]]


def test_a_class_that_would_be_lost_is_an_error() -> None:
    with pytest.raises(ValueError, match="four"):
        metrics.aligned(np.ones((1, 1)), ("four",), LABELS)


def test_groups_are_scored_apart_and_unknown_ones_left_out() -> None:
    truth, predicted = np.array([0, 1, 0, 1, 0]), np.array([0, 1, 0, 0, 1])
    group = pd.Series(["ann", "ann", "ben", "ben", None], index=[9, 8, 7, 6, 5])
    found = metrics.per_group(truth, predicted, group)
    assert found["ann"] == {"macro_f1": 1.0, "accuracy": 1.0, "recall": 1.0, "support": 2.0}
    assert found["ben"] == pytest.approx({"macro_f1": 1 / 3, "accuracy": 0.5, "recall": 0.5, "support": 2})
    assert set(found) == {"ann", "ben"}
    assert metrics.gaps(found) == pytest.approx({"macro_f1": 2 / 3, "accuracy": 0.5, "recall": 0.5})


def test_no_known_group_gives_no_groups_and_no_gaps() -> None:
    assert metrics.per_group(np.array([0]), np.array([0]), pd.Series([None], dtype="str")) == {}
    assert metrics.gaps({}) == {}


def test_gaps_of_one_group_are_zero() -> None:
    found = metrics.per_group(np.array([0, 1]), np.array([0, 0]), pd.Series(["ann", "ann"]))
    assert set(metrics.gaps(found).values()) == {0.0}
