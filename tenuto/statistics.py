"""How sure a score or a difference of scores is, given which clips and speakers happened to be in the test set.

A test set is a sample of speakers (or recordings, or sites) more than of clips: errors come in clumps, and an interval
that forgets it is far too narrow. Whole units are therefore drawn again and again with replacement, the same draw for
every model (paired), and the metric is computed anew each time. Every metric here is a function of three counts per
class, so a draw is one multinomial vector and all draws together are one matrix product.

Separate from `tenuto.metrics`, which computes point values for people with scikit-learn and fairlearn: this module is
its vectorised twin for resampling, and the tests hold the two against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tenuto.errors import TrainingError
from tenuto.records import Interval

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

MIN_UNITS = 5
"""With fewer units than this their spread cannot be estimated: clips are drawn within each unit instead."""

_CELLS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Answers:
    """What several models said about the same clips.

    `truth` and each of `predicted` are (n,) indices into `labels`; `units` are (n,) codes of what is resampled, called
    `unit_name` ('speaker'; 'clip' when every clip stands for itself).
    """

    labels: tuple[str, ...]
    truth: IntArray
    predicted: Mapping[str, IntArray]
    units: IntArray
    unit_name: str = "clip"

    def where(self, mask: NDArray[np.bool_]) -> Answers:
        """The answers about the clips in `mask`, of shape (n,)."""
        predicted = {model: codes[mask] for model, codes in self.predicted.items()}
        return Answers(self.labels, self.truth[mask], predicted, self.units[mask], self.unit_name)


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


def interval(
    answers: Answers,
    metric: str,
    model: str,
    *,
    versus: str | None = None,
    label: str | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    rng: np.random.Generator,
) -> Interval:
    """The metric of `model`, or its lead over `versus`, with a paired, clustered bootstrap interval.

    With `label` it is that class alone. Intervals are percentiles widened for few units (Hesterberg 2015, "What
    teachers should know about the bootstrap", section 5.3). Where no draw can differ because every clip was called
    right (or wrong, or the same by both models), the exact binomial bound for no event in n clips takes over.

    Raises TrainingError when no clip of the class is there.
    """
    columns = _columns(answers, label)
    counting = np.isin(answers.truth, columns)
    n = int(counting.sum())
    if n == 0:
        raise TrainingError(f"No test clip{f' of class {label!r}' if label else ''}: nothing to score.")
    clusters, strata, units = _clusters(answers, counting)
    models = [model] if versus is None else [model, versus]
    tallies = _tallies(answers, models, clusters, columns)
    observed = _score(tallies.sum(axis=0), models, metric)
    draws = [_score(totals, models, metric) for totals in _resampled(tallies, strata, resamples, rng)]
    low, high = np.nanquantile(np.concatenate(draws), _levels(units, confidence))
    value = float(observed)
    low, high = _unless_certain(answers.where(counting), models, (float(low), float(high)), n, confidence)
    return Interval(
        value=value,
        low=min(low, value),
        high=max(high, value),
        n=n,
        groups=units,
        resampled=resampled_by(answers, counting),
    )


def point(answers: Answers, metric: str, model: str, label: str | None = None) -> float:
    """The metric of `model` as it is, without an interval; with `label`, of that class alone."""
    everything = np.zeros(len(answers.truth), dtype=np.int64)
    tallies = _tallies(answers, [model], everything, _columns(answers, label))
    return float(_score(tallies[0], [model], metric))


def resampled_by(answers: Answers, counting: NDArray[np.bool_] | None = None) -> str:
    """What a draw takes again, for a sentence: 'clip', '12 speakers', or "2 speakers' clips" where so few."""
    units = answers.units if counting is None else answers.units[counting]
    groups = len(np.unique(units))
    if groups == len(units):
        return "clip"
    plural = f"{groups} {answers.unit_name}{'s' if groups != 1 else ''}"
    owner = f"{plural}'" if groups != 1 else f"{plural}'s"
    return plural if groups >= MIN_UNITS else f"{owner} clips"


def _columns(answers: Answers, label: str | None) -> list[int]:
    return [answers.labels.index(label)] if label is not None else list(range(len(answers.labels)))


def _clusters(answers: Answers, counting: NDArray[np.bool_]) -> tuple[IntArray, IntArray, int]:
    """Cluster of each clip (n,), stratum of each cluster, and how many independent units there are."""
    groups, clips = len(np.unique(answers.units[counting])), int(counting.sum())
    _, units = np.unique(answers.units, return_inverse=True)
    if groups >= MIN_UNITS or groups == clips:
        return units, np.zeros(units.max() + 1, dtype=np.int64), groups
    return np.arange(len(units)), units, clips


def _tallies(answers: Answers, models: list[str], clusters: IntArray, columns: list[int]) -> FloatArray:
    """Per cluster the support, then called and right per model, of the classes in `columns`, side by side."""
    blocks = [_tally(clusters, answers.truth, answers, columns)]
    for model in models:
        predicted = answers.predicted[model]
        right = predicted == answers.truth
        blocks.append(_tally(clusters, predicted, answers, columns))
        blocks.append(_tally(clusters, np.where(right, predicted, -1), answers, columns))
    return np.concatenate(blocks, axis=1)


def _tally(clusters: IntArray, codes: IntArray, answers: Answers, columns: list[int]) -> FloatArray:
    """How many clips of each cluster carry each code: (clusters, columns); the code -1 is nowhere."""
    rows, classes = int(clusters.max()) + 1, len(answers.labels) + 1
    counts = np.bincount(clusters * classes + codes + 1, minlength=rows * classes)
    return counts.reshape(rows, classes)[:, np.array(columns) + 1].astype(float)


def _resampled(tallies: FloatArray, strata: IntArray, resamples: int, rng: np.random.Generator) -> Iterator[FloatArray]:
    """Totals of redrawn test sets, (draws, columns) at a time.

    Clusters with equal tallies are interchangeable, so what is drawn is how often each distinct tally comes up: a
    few hundred numbers for ten thousand clips.
    """
    distinct = [np.unique(tallies[strata == s], axis=0, return_counts=True) for s in np.unique(strata)]
    at_once = max(1, _CELLS_AT_ONCE // max(len(counts) for _, counts in distinct))
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        yield sum(
            (rng.multinomial(n := counts.sum(), counts / n, size=size).astype(float) @ rows)
            for rows, counts in distinct
        )


def _score(totals: FloatArray, models: list[str], metric: str) -> FloatArray:
    """The metric of the first model, less that of the second if there is one: totals (..., tallies) -> (...)."""
    support, *rest = np.split(totals, 1 + 2 * len(models), axis=-1)
    scores = [METRICS[metric](Counts(support, *rest[2 * m : 2 * m + 2])) for m in range(len(models))]
    return scores[0] if len(scores) == 1 else scores[0] - scores[1]


def _levels(units: int, confidence: float) -> tuple[float, float]:
    """The two quantiles to read off, widened so that few units give an interval as wide as Student's t would."""
    from scipy import stats

    if units < 2:
        return 0.0, 1.0
    t = stats.t.ppf((1 + confidence) / 2, units - 1) * np.sqrt(units / (units - 1))
    return float(stats.norm.cdf(-t)), float(stats.norm.cdf(t))


def _unless_certain(
    answers: Answers, models: list[str], found: tuple[float, float], n: int, confidence: float
) -> tuple[float, float]:
    """`found`, or the binomial bound where all clips have one outcome and resampling would claim certainty."""
    doubt = 1 - ((1 - confidence) / 2) ** (1 / n)
    first = answers.predicted[models[0]]
    if len(models) == 2:
        same = bool(np.array_equal(first, answers.predicted[models[1]]))
        return (min(found[0], -doubt), max(found[1], doubt)) if same else found
    right = first == answers.truth
    if right.all():
        return min(found[0], 1 - doubt), found[1]
    return (found[0], max(found[1], doubt)) if not right.any() else found


def _ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _mean_over_occurring(counts: Counts, values: FloatArray) -> FloatArray:
    occurs = counts.support > 0
    return _ratio(np.where(occurs, values, 0.0).sum(axis=-1), occurs.sum(axis=-1))
