"""Point values for people: what one model scored, per class, per group, and how far groups lie apart.

scikit-learn computes per class, fairlearn's MetricFrame divides by group; means over classes are those of
`tenuto.scoring.statistics`, where the intervals are, so that both always agree. They run over the classes that occur
among the clips: a class without a test clip says nothing about a model. The order of the classes is always the one
given. With several labels a clip, truth and answers are matrices (n, classes) of which labels each has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tenuto import labels as texts
from tenuto.labels import LabelType
from tenuto.scoring import ranking, statistics
from tenuto.scoring.tallies import Labels, indicated, wrong_labels

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


def coded(labels: Sequence[str] | NDArray[np.str_], names: Sequence[str], kind: LabelType) -> Labels:
    """The labels of clips as text, as they count in `names`: (n,) indices, or (n, classes) of which each clip has."""
    if kind == "many":
        return texts.matrix(labels, names)
    found: Labels = texts.targets(labels, names, kind)
    return found


def overall(truth: Labels, predicted: Labels, probabilities: FloatArray) -> dict[str, float]:
    """macro_f1, accuracy, balanced_accuracy and expected_calibration_error, each in [0, 1].

    `truth` and `predicted` (n,) hold column indices of `probabilities` (n, classes). Where they are (n, classes),
    accuracy counts the clips of which every label is right, and micro_f1 and mean_average_precision take the place of
    balanced_accuracy.
    """
    found = {"macro_f1": macro_f1(truth, predicted)}
    if truth.ndim == 2:
        found["micro_f1"] = float(statistics.micro_f1(_counts(truth, predicted)))
        found["mean_average_precision"] = mean_average_precision(truth, probabilities)
    found["accuracy"] = _accuracy(truth, predicted)
    if truth.ndim == 1:
        found["balanced_accuracy"] = macro_recall(truth, predicted)
    return _known(found | {"expected_calibration_error": expected_calibration_error(truth, probabilities)})


def macro_f1(truth: Any, predicted: Any) -> float:
    """Mean F1 of the classes that occur in `truth`; both (n,), of labels or of indices."""
    return float(statistics.f1(_counts(truth, predicted)))


def macro_recall(truth: Any, predicted: Any) -> float:
    """Mean recall of the classes that occur in `truth`; both (n,), of labels or of indices."""
    return float(statistics.recall(_counts(truth, predicted)))


def mean_average_precision(truth: Labels, probabilities: FloatArray) -> float:
    """Mean of the average precision of the classes that occur in `truth`, each against all else, in (0, 1]."""
    was = indicated(truth, probabilities.shape[1])
    found = [ranking.average_precision(was[:, c], probabilities[:, c]) for c in np.flatnonzero(was.any(axis=0))]
    return float(np.mean(found)) if found else float("nan")


def _counts(truth: Any, predicted: Any) -> statistics.Counts:
    if np.ndim(truth) == 2:
        return statistics.Counts(*(np.sum(each, axis=0, dtype=float) for each in (truth, predicted, truth & predicted)))
    names, codes = np.unique(np.concatenate([truth, predicted]), return_inverse=True)
    was, called = codes[: len(truth)], codes[len(truth) :]
    columns = (np.bincount(c, minlength=len(names)).astype(float) for c in (was, called, was[was == called]))
    return statistics.Counts(*columns)


def expected_calibration_error(truth: Labels, probabilities: FloatArray, bins: int = CALIBRATION_BINS) -> float:
    """Mean distance between confidence and accuracy over equal-width bins of the top probability.

    With several labels a clip, between probability and frequency, over bins of the probabilities of all labels.
    Guo et al. 2017, "On Calibration of Modern Neural Networks": 0 is perfectly calibrated, 1 the worst.
    """
    if truth.ndim == 2:
        confidence, right = probabilities.ravel(), truth.ravel()
    else:
        confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    distance = np.bincount(bin_of, weights=right - confidence, minlength=bins)
    return float(np.abs(distance).sum() / len(confidence))


def per_class(
    truth: Labels, predicted: Labels, labels: Sequence[str], probabilities: FloatArray
) -> dict[str, dict[str, float]]:
    """Per label: precision, recall, f1 (0 where undefined) and support, the number of clips.

    With several labels a clip also average_precision, of labels that occur.
    """
    from sklearn.metrics import precision_recall_fscore_support

    columns = precision_recall_fscore_support(truth, predicted, labels=range(len(labels)), zero_division=0)
    names = ("precision", "recall", "f1", "support")
    found = {
        label: {name: float(column[i]) for name, column in zip(names, columns, strict=True)}
        for i, label in enumerate(labels)
    }
    for i in np.flatnonzero(truth.any(axis=0)) if truth.ndim == 2 else ():
        found[labels[int(i)]]["average_precision"] = ranking.average_precision(truth[:, i] > 0, probabilities[:, i])
    return found


def confusion(truth: Labels, predicted: Labels, classes: int) -> list[list[int]]:
    """Counts (classes, classes): rows are the truth, columns what was predicted.

    With several labels a clip (classes, 4): how often each label was found, named falsely, missed, and rightly not
    named. Which label stands for which missed one is not to be told there.
    """
    from sklearn.metrics import confusion_matrix, multilabel_confusion_matrix

    if truth.ndim == 2:
        tables = multilabel_confusion_matrix(truth, predicted)
        return [[int(table[place]) for place in ((1, 1), (0, 1), (1, 0), (0, 0))] for table in tables]
    return [[int(n) for n in row] for row in confusion_matrix(truth, predicted, labels=range(classes))]


def per_group(truth: Labels, predicted: Labels, group: pd.Series) -> dict[str, dict[str, float]]:
    """Per value of the group: macro_f1, accuracy, recall (mean of the classes that occur there) and support.

    Clips whose group is unknown (null) belong to no group and are left out. Means of classes are left out where none
    occurs.
    """
    from fairlearn.metrics import MetricFrame, count

    known = group.notna().to_numpy()
    if not known.any():
        return {}
    rows = np.flatnonzero(known)  # fairlearn divides what has one dimension
    frame = MetricFrame(
        metrics={
            "macro_f1": lambda of, _: macro_f1(truth[of], predicted[of]),
            "accuracy": lambda of, _: _accuracy(truth[of], predicted[of]),
            "recall": lambda of, _: macro_recall(truth[of], predicted[of]),
            "support": count,
        },
        y_true=rows,
        y_pred=rows,
        sensitive_features=group[known].astype(str).rename("group").reset_index(drop=True),
    )
    return {str(value): _known({str(k): float(v) for k, v in row.items()}) for value, row in frame.by_group.iterrows()}


def _accuracy(truth: Any, predicted: Any) -> float:
    return float(np.mean(wrong_labels(np.asarray(truth), np.asarray(predicted)) == 0))


def gaps(groups: dict[str, dict[str, float]]) -> dict[str, float]:
    """Largest minus smallest value over the groups, per metric (support aside); empty without groups."""
    if not groups:
        return {}
    table = pd.DataFrame(groups).drop("support")  # metrics x groups
    return _known({str(metric): float(row.max() - row.min()) for metric, row in table.iterrows()})


def _known(figures: dict[str, float]) -> dict[str, float]:
    """Without those that there were no clips for: no clip of a group need have any label."""
    return {name: value for name, value in figures.items() if np.isfinite(value)}
