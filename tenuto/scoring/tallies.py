"""What models answered, as sums over clips, and every metric as a function of those sums.

A resampled test set is a weighted sum of its clusters, and one without a speaker is the total less hers. So whatever
`tenuto.scoring.statistics` does with draws or with leaving out, it does with these tallies, for all draws at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

CALIBRATION_BINS = 15

_SMALLEST_PROBABILITY = float(np.finfo(np.float64).eps)
"""As in scikit-learn: a probability of 0 for what was true costs 36, not infinity."""


@dataclass(frozen=True)
class Answers:
    """What several models said about the same clips.

    `truth` and each of `predicted` are (n,) indices into `labels`; `units` are (n,) codes of what is resampled, called
    `unit_name` ('speaker'; 'clip' when every clip stands for itself). `probabilities` of a model are (n, classes); only
    the metrics of `LOSSES` want them.
    """

    labels: tuple[str, ...]
    truth: IntArray
    predicted: Mapping[str, IntArray]
    units: IntArray
    unit_name: str = "clip"
    probabilities: Mapping[str, FloatArray] = field(default_factory=dict)

    def where(self, mask: BoolArray) -> Answers:
        """The answers about the clips in `mask`, of shape (n,)."""
        predicted = {model: codes[mask] for model, codes in self.predicted.items()}
        probabilities = {model: p[mask] for model, p in self.probabilities.items()}
        return Answers(self.labels, self.truth[mask], predicted, self.units[mask], self.unit_name, probabilities)

    def columns(self, label: str | None) -> list[int]:
        """The classes that are scored: `label` alone, or all."""
        return [self.labels.index(label)] if label is not None else list(range(len(self.labels)))

    def counting(self, label: str | None) -> BoolArray:
        """The clips of those classes, (n,)."""
        return np.isin(self.truth, self.columns(label))


@dataclass(frozen=True)
class Counts:
    """Per class, how many clips were it, were called it, and both: arrays (..., classes)."""

    support: FloatArray
    called: FloatArray
    right: FloatArray


def accuracy(counts: Counts) -> FloatArray:
    """Share of clips called right, over all classes."""
    return _ratio(counts.right.sum(axis=-1), counts.support.sum(axis=-1))


def precision(counts: Counts) -> FloatArray:
    """Mean over the classes that occur of right / called; 0 for a class that was never called."""
    return _mean_over_occurring(counts, counts.right / np.maximum(counts.called, 1))


def recall(counts: Counts) -> FloatArray:
    """Mean over the classes that occur of right / support: balanced accuracy."""
    return _mean_over_occurring(counts, counts.right / np.maximum(counts.support, 1))


def f1(counts: Counts) -> FloatArray:
    """Mean over the classes that occur of 2 right / (called + support): macro-F1."""
    return _mean_over_occurring(counts, 2 * counts.right / np.maximum(counts.called + counts.support, 1))


METRICS: Mapping[str, Callable[[Counts], FloatArray]] = {
    "accuracy": accuracy,
    "balanced_accuracy": recall,
    "macro_f1": f1,
    "precision": precision,
    "recall": recall,
    "f1": f1,
}
"""By name. Over several classes precision, recall and f1 are means of the classes (macro)."""


def log_loss(truth: IntArray, p: FloatArray) -> FloatArray:
    """(n, 1): minus the natural logarithm of the probability of what was true."""
    return -np.log(np.maximum(_of_truth(truth, p), _SMALLEST_PROBABILITY))[:, None]


def brier(truth: IntArray, p: FloatArray) -> FloatArray:
    """(n, 1), in [0, 2]: squared distance of the probabilities from certainty of what was true (Brier 1950)."""
    return ((p**2).sum(axis=1) - 2 * _of_truth(truth, p) + 1)[:, None]


def overconfidence(truth: IntArray, p: FloatArray) -> FloatArray:
    """(n, bins): how far the answer was right less how sure it was, in the column of the confidence's bin."""
    confidence = p.max(axis=1)
    bin_of = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)
    sums = np.zeros((len(truth), CALIBRATION_BINS))
    sums[np.arange(len(truth)), bin_of] = (p.argmax(axis=1) == truth) - confidence
    return sums


LOSSES: Mapping[str, Callable[[IntArray, FloatArray], FloatArray]] = {
    "expected_calibration_error": overconfidence,
    "log_loss": log_loss,
    "brier": brier,
}
"""By name: what each clip adds. The metric is the sum of the columns' absolute totals, over the clips; lower is better.

For the expected calibration error see Guo et al. 2017, "On Calibration of Modern Neural Networks".
"""


def bounds(metric: str) -> tuple[float, float]:
    """The smallest and the largest value that there is."""
    return 0.0, {"brier": 2.0, "log_loss": -float(np.log(_SMALLEST_PROBABILITY))}.get(metric, 1.0)


def tallies(answers: Answers, metric: str, model: str, label: str | None, clusters: IntArray, rows: int) -> FloatArray:
    """Sums per cluster, (rows, columns), from which `score` computes the metric of the model.

    `clusters` (n,) says to which of the `rows` each clip belongs; a clip of cluster -1 belongs nowhere.
    """
    if metric in LOSSES:
        added = LOSSES[metric](answers.truth, answers.probabilities[model])
        return _summed(np.column_stack([added, np.ones(len(added))]), clusters, rows)
    columns, predicted = answers.columns(label), answers.predicted[model]
    right = np.where(predicted == answers.truth, predicted, -1)
    counts = [
        _tally(codes, len(answers.labels), columns, clusters, rows) for codes in (answers.truth, predicted, right)
    ]
    if metric == "accuracy":  # needs no classes, and without them far fewer clusters differ
        counts = [count.sum(axis=1, keepdims=True) for count in counts]
    return np.concatenate(counts, axis=1)


def score(metric: str, totals: FloatArray) -> FloatArray:
    """The metric of totals (..., columns) of `tallies`: (...)."""
    if metric in LOSSES:
        return _ratio(np.abs(totals[..., :-1]).sum(axis=-1), totals[..., -1])
    return METRICS[metric](Counts(*np.split(totals, 3, axis=-1)))


def _of_truth(truth: IntArray, p: FloatArray) -> FloatArray:
    found: FloatArray = np.take_along_axis(p, truth[:, None], axis=1)[:, 0]
    return found


def _summed(added: FloatArray, clusters: IntArray, rows: int) -> FloatArray:
    columns = [np.bincount(clusters + 1, weights=column, minlength=rows + 1)[1:] for column in added.T]
    return np.stack(columns, axis=1)


def _tally(codes: IntArray, labels: int, columns: Sequence[int], clusters: IntArray, rows: int) -> FloatArray:
    """How many clips of each cluster carry each code: (rows, columns); the code -1 is nowhere."""
    classes = labels + 1
    counts = np.bincount((clusters + 1) * classes + codes + 1, minlength=(rows + 1) * classes)
    return counts.reshape(rows + 1, classes)[1:, np.array(columns) + 1].astype(float)


def _ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _mean_over_occurring(counts: Counts, values: FloatArray) -> FloatArray:
    occurs = counts.support > 0
    return _ratio(np.where(occurs, values, 0.0).sum(axis=-1), occurs.sum(axis=-1))
