"""Point values for people: what one model scored, per class, per group, and how far groups lie apart.

scikit-learn computes per class, fairlearn's MetricFrame divides by group; means over classes are those of
`tenuto.scoring.statistics`, where the intervals are, so that both always agree. They run over the classes that occur
among the clips: a class without a test clip says nothing about a model. The order of the classes is always the one
given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tenuto.scoring import statistics

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

CALIBRATION_BINS = 15


def aligned(probabilities: FloatArray, labels: Sequence[str], to: Sequence[str]) -> FloatArray:
    """Probabilities (n, classes) with their columns in the order `to`; 0 for a class the model does not know.

    Raises ValueError when the model knows a class that is not in `to`: its probability would be lost.
    """
    lost = sorted(set(labels) - set(to))
    if lost:
        raise ValueError(f"classes {lost} of the model are not among {list(to)}")
    out = np.zeros((len(probabilities), len(to)))
    out[:, [list(to).index(label) for label in labels]] = probabilities
    return out


def overall(truth: IntArray, probabilities: FloatArray) -> dict[str, float]:
    """macro_f1, accuracy, balanced_accuracy and expected_calibration_error, each in [0, 1].

    `truth` (n,) holds column indices of `probabilities` (n, classes).
    """
    predicted = probabilities.argmax(axis=1)
    return {
        "macro_f1": macro_f1(truth, predicted),
        "accuracy": _accuracy(truth, predicted),
        "balanced_accuracy": macro_recall(truth, predicted),
        "expected_calibration_error": expected_calibration_error(truth, probabilities),
    }


def macro_f1(truth: Any, predicted: Any) -> float:
    """Mean F1 of the classes that occur in `truth`; both (n,), of labels or of indices."""
    return float(statistics.f1(_counts(truth, predicted)))


def macro_recall(truth: Any, predicted: Any) -> float:
    """Mean recall of the classes that occur in `truth`; both (n,), of labels or of indices."""
    return float(statistics.recall(_counts(truth, predicted)))


def _counts(truth: Any, predicted: Any) -> statistics.Counts:
    names, codes = np.unique(np.concatenate([truth, predicted]), return_inverse=True)
    was, called = codes[: len(truth)], codes[len(truth) :]
    columns = (np.bincount(c, minlength=len(names)).astype(float) for c in (was, called, was[was == called]))
    return statistics.Counts(*columns)


def expected_calibration_error(truth: IntArray, probabilities: FloatArray, bins: int = CALIBRATION_BINS) -> float:
    """Mean distance between confidence and accuracy over equal-width bins of the top probability.

    Guo et al. 2017, "On Calibration of Modern Neural Networks": 0 is perfectly calibrated, 1 the worst.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    distance = np.bincount(bin_of, weights=right - confidence, minlength=bins)
    return float(np.abs(distance).sum() / len(truth))


def per_class(truth: IntArray, predicted: IntArray, labels: Sequence[str]) -> dict[str, dict[str, float]]:
    """Per label: precision, recall, f1 (0 where undefined) and support, the number of clips."""
    from sklearn.metrics import precision_recall_fscore_support

    columns = precision_recall_fscore_support(truth, predicted, labels=range(len(labels)), zero_division=0)
    names = ("precision", "recall", "f1", "support")
    return {
        label: {name: float(column[i]) for name, column in zip(names, columns, strict=True)}
        for i, label in enumerate(labels)
    }


def confusion(truth: IntArray, predicted: IntArray, classes: int) -> list[list[int]]:
    """Counts (classes, classes): rows are the truth, columns what was predicted."""
    from sklearn.metrics import confusion_matrix

    return [[int(n) for n in row] for row in confusion_matrix(truth, predicted, labels=range(classes))]


def per_group(truth: IntArray, predicted: IntArray, group: pd.Series) -> dict[str, dict[str, float]]:
    """Per value of the group: macro_f1, accuracy, recall (mean of the classes that occur there) and support.

    Clips whose group is unknown (null) belong to no group and are left out.
    """
    from fairlearn.metrics import MetricFrame, count

    known = group.notna().to_numpy()
    if not known.any():
        return {}
    frame = MetricFrame(
        metrics={"macro_f1": macro_f1, "accuracy": _accuracy, "recall": macro_recall, "support": count},
        y_true=truth[known],
        y_pred=predicted[known],
        sensitive_features=group[known].astype(str).rename("group").reset_index(drop=True),
    )
    return {str(value): {str(k): float(v) for k, v in row.items()} for value, row in frame.by_group.iterrows()}


def _accuracy(truth: Any, predicted: Any) -> float:
    return float(np.mean(np.asarray(truth) == np.asarray(predicted)))


def gaps(groups: dict[str, dict[str, float]]) -> dict[str, float]:
    """Largest minus smallest value over the groups, per metric (support aside); empty without groups."""
    if not groups:
        return {}
    table = pd.DataFrame(groups).drop("support")  # metrics x groups
    return {str(metric): float(row.max() - row.min()) for metric, row in table.iterrows()}
