"""What models answered, as sums over clips, and every metric as a function of those sums.

A resampled test set is a weighted sum of its clusters, and one without a speaker is the total less hers. So whatever
`tenuto.scoring.statistics` does with draws or with leaving out, it does with these tallies, for all draws at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenuto.labels import LabelType
from tenuto.scoring import ranking

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Labels = NDArray[np.integer[Any] | np.bool_]
"""What clips are or were called: (n,) indices of classes, or (n, classes) of which labels each has, with several."""

CALIBRATION_BINS = 15

_SMALLEST_PROBABILITY = float(np.finfo(np.float64).eps)
"""As in scikit-learn: a probability of 0 for what was true costs 36, not infinity."""


@dataclass(frozen=True)
class Answers:
    """What several models said about the same clips.

    `truth` and each of `predicted` are (n,) indices into `labels`, or (n, classes) of which labels each clip has, with
    several a clip; `units` are (n,) codes of what is resampled, called `unit_name` ('speaker'; 'clip' when every clip
    stands for itself). `probabilities` of a model are (n, classes); the metrics of `LOSSES` and `RANKED` want them.
    """

    labels: tuple[str, ...]
    truth: Labels
    predicted: Mapping[str, Labels]
    units: IntArray
    unit_name: str = "clip"
    probabilities: Mapping[str, FloatArray] = field(default_factory=dict)

    @property
    def kind(self) -> LabelType:
        """How many labels a clip has."""
        return "one" if self.truth.ndim == 1 else "many"

    def where(self, mask: BoolArray) -> Answers:
        """The answers about the clips in `mask`, of shape (n,)."""
        predicted = {model: codes[mask] for model, codes in self.predicted.items()}
        probabilities = {model: p[mask] for model, p in self.probabilities.items()}
        return Answers(self.labels, self.truth[mask], predicted, self.units[mask], self.unit_name, probabilities)

    def columns(self, label: str | None) -> list[int]:
        """The classes that are scored: `label` alone, or all."""
        return [self.labels.index(label)] if label is not None else list(range(len(self.labels)))

    def counting(self, label: str | None) -> BoolArray:
        """The clips of those classes, (n,); with several labels a clip, all clips belong to all classes."""
        if self.kind == "many" and label is None:
            return np.ones(len(self.truth), dtype=bool)
        return np.asarray(indicated(self.truth, len(self.labels))[:, self.columns(label)].any(axis=1))


def indicated(codes: Labels, classes: int) -> BoolArray:
    """(n, classes): which labels each clip has."""
    return codes if codes.ndim == 2 else codes[:, None] == np.arange(classes)  # type: ignore[return-value]


def wrong_labels(truth: Labels, predicted: Labels) -> IntArray:
    """(n,): how many labels of each clip were answered wrongly; with one label a clip, whether it was."""
    differ = np.asarray(truth != predicted)
    return differ.reshape(len(differ), -1).sum(axis=1)


@dataclass(frozen=True)
class Counts:
    """Per class, how many clips were it, were called it, and both: arrays (..., classes)."""

    support: FloatArray
    called: FloatArray
    right: FloatArray


def accuracy(counts: Counts) -> FloatArray:
    """Share of clips called right, over all classes; with several labels a clip, of those of which every one is."""
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


def micro_f1(counts: Counts) -> FloatArray:
    """2 right / (called + support) over all classes together; accuracy, where each clip has one label."""
    called_or_there = counts.called.sum(axis=-1) + counts.support.sum(axis=-1)
    return _ratio(2 * counts.right.sum(axis=-1), called_or_there)


METRICS: Mapping[str, Callable[[Counts], FloatArray]] = {
    "accuracy": accuracy,
    "balanced_accuracy": recall,
    "macro_f1": f1,
    "micro_f1": micro_f1,
    "precision": precision,
    "recall": recall,
    "f1": f1,
}
"""By name. Over several classes precision, recall and f1 are means of the classes (macro)."""


def log_loss(truth: Labels, p: FloatArray) -> FloatArray:
    """(n, 1): minus the natural logarithm of the probability of what was true.

    With several labels a clip, the mean over the labels; what was true is that the clip has it or has it not.
    """
    likely = np.where(truth, p, 1 - p) if truth.ndim == 2 else _of_truth(truth, p)[:, None]
    return -np.log(np.maximum(likely, _SMALLEST_PROBABILITY)).mean(axis=1, keepdims=True)


def brier(truth: Labels, p: FloatArray) -> FloatArray:
    """(n, 1), in [0, 2]: squared distance of the probabilities from certainty of what was true (Brier 1950).

    With several labels a clip, the mean of the labels' squared distances, in [0, 1].
    """
    if truth.ndim == 2:
        return np.asarray(((p - truth) ** 2).mean(axis=1, keepdims=True))
    return ((p**2).sum(axis=1) - 2 * _of_truth(truth, p) + 1)[:, None]


def overconfidence(truth: Labels, p: FloatArray) -> FloatArray:
    """(n, bins): how far the likeliest class was right less its probability, in the column of the probability's bin.

    With several labels a clip, how far each label was there less its probability, in its bin, divided by the labels.
    """
    sure = p if truth.ndim == 2 else p.max(axis=1, keepdims=True)
    right = truth if truth.ndim == 2 else (p.argmax(axis=1) == truth)[:, None]
    bin_of = np.clip(np.ceil(sure * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)
    sums = np.zeros((len(truth), CALIBRATION_BINS))
    np.add.at(sums, (np.arange(len(truth))[:, None], bin_of), (right - sure) / sure.shape[1])
    return sums


LOSSES: Mapping[str, Callable[[Labels, FloatArray], FloatArray]] = {
    "expected_calibration_error": overconfidence,
    "log_loss": log_loss,
    "brier": brier,
}
"""By name: what each clip adds. The metric is the sum of the columns' absolute totals, over the clips; lower is better.

For the expected calibration error see Guo et al. 2017, "On Calibration of Modern Neural Networks".
"""

RANKED = ("mean_average_precision",)
"""Of the order in which probabilities put the clips (`tenuto.scoring.ranking`); each label against all else."""


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
    if metric in RANKED:
        truth = indicated(answers.truth, len(answers.labels))[:, columns]
        added, inside = np.zeros(len(truth)), clusters >= 0
        added[inside] = ranking.pseudo_values(truth[inside], answers.probabilities[model][inside][:, columns])
        return _summed(np.column_stack([added, np.ones(len(added))]), clusters, rows)
    if metric == "accuracy":  # needs no classes, and without them far fewer clusters differ
        right = wrong_labels(answers.truth, predicted) == 0
        return _summed(np.column_stack([np.ones((len(right), 2)), right]), clusters, rows)
    if answers.kind == "many":
        found = (answers.truth, predicted, answers.truth & predicted)
        return np.concatenate([_summed(each[:, columns].astype(float), clusters, rows) for each in found], axis=1)
    right = np.where(predicted == answers.truth, predicted, -1)
    codes = (answers.truth, predicted, right)
    return np.concatenate([_tally(each, len(answers.labels), columns, clusters, rows) for each in codes], axis=1)


def score(metric: str, totals: FloatArray) -> FloatArray:
    """The metric of totals (..., columns) of `tallies`: (...)."""
    if metric in LOSSES or metric in RANKED:
        return _ratio(np.abs(totals[..., :-1]).sum(axis=-1), totals[..., -1])
    return METRICS[metric](Counts(*np.split(totals, 3, axis=-1)))


def _of_truth(truth: Labels, p: FloatArray) -> FloatArray:
    found: FloatArray = np.take_along_axis(p, truth.astype(np.int64)[:, None], axis=1)[:, 0]
    return found


def _summed(added: FloatArray, clusters: IntArray, rows: int) -> FloatArray:
    columns = [np.bincount(clusters + 1, weights=column, minlength=rows + 1)[1:] for column in added.T]
    return np.stack(columns, axis=1)


def _tally(codes: Labels, labels: int, columns: Sequence[int], clusters: IntArray, rows: int) -> FloatArray:
    """How many clips of each cluster carry each code: (rows, columns); the code -1 is nowhere."""
    classes = labels + 1
    counts = np.bincount((clusters + 1) * classes + codes + 1, minlength=(rows + 1) * classes)
    return counts.reshape(rows + 1, classes)[1:, np.array(columns) + 1].astype(float)


def _ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _mean_over_occurring(counts: Counts, values: FloatArray) -> FloatArray:
    occurs = counts.support > 0
    return _ratio(np.where(occurs, values, 0.0).sum(axis=-1), occurs.sum(axis=-1))
