"""How sure a score or a difference of scores is, given which clips and speakers happened to be in the test set.

A test set is a sample of speakers (or recordings, or sites) more than of clips: errors come in clumps, and an interval
that forgets it is far too narrow. For an interval whole units are drawn again and again with replacement, the same draw
for every model (paired), and the metric is computed anew each time; a draw is one multinomial vector, and all draws
together are one matrix product. For a p-value each unit is left out once.

Separate from `tenuto.metrics`, which computes point values for people with scikit-learn and fairlearn: this module is
its vectorised twin for resampling, and the tests hold the two against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tenuto.records import Interval
from tenuto.samples import MIN_UNITS, Sample, Term, resampled_by, sampled
from tenuto.tallies import (
    LOSSES,
    METRICS,
    Answers,
    Counts,
    FloatArray,
    IntArray,
    accuracy,
    f1,
    precision,
    recall,
    score,
    tallies,
)

__all__ = [
    "LOSSES",
    "METRICS",
    "MIN_UNITS",
    "Answers",
    "Counts",
    "Sample",
    "Term",
    "accuracy",
    "f1",
    "holm",
    "interval",
    "interval_of",
    "p_greater",
    "p_of",
    "p_value",
    "point",
    "precision",
    "recall",
    "resampled_by",
    "sampled",
    "standard_error",
]

_CELLS_AT_ONCE = 4_000_000
_TINY = 1e-12


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
    """The metric of `model`, or its difference to `versus`, with a paired, clustered bootstrap interval.

    With `label` it is that class alone. Raises TrainingError when no clip of the class is there.
    """
    sample = sampled(answers, metric, _terms(model, versus, label))
    return interval_of(sample, confidence=confidence, resamples=resamples, rng=rng)


def interval_of(sample: Sample, *, confidence: float, resamples: int, rng: np.random.Generator) -> Interval:
    """The quantity with its clustered bootstrap interval.

    Percentiles widened for few units (Hesterberg 2015, "What teachers should know about the bootstrap", section 5.3),
    or on either side Student's interval with the standard error of `p_of` where that is wider: the bootstrap alone
    covers too little with a dozen speakers, and an interval beyond a threshold never contradicts the p-value. Where no
    draw can differ because every clip was called right (or wrong, or the same by both models), the exact binomial bound
    for no event in n clips takes over.
    """
    draws = np.concatenate([sample.of(totals) for totals in _drawn(sample, resamples, rng)])
    low, high = (float(q) for q in np.nanquantile(draws, _levels(sample.units, confidence)))
    value, students = sample.value, _student(sample, confidence)
    doubts = [1 - ((1 - confidence) / 2) ** (1 / same.clips) for same in sample.alike]
    down = sum(same.down * doubt for same, doubt in zip(sample.alike, doubts, strict=True))
    up = sum(same.up * doubt for same, doubt in zip(sample.alike, doubts, strict=True))
    return Interval(
        value=value,
        low=min(low, students[0], value - down),
        high=max(high, students[1], value + up),
        n=sample.clips,
        groups=sample.units,
        resampled=sample.resampled,
    )


def point(answers: Answers, metric: str, model: str, label: str | None = None) -> float:
    """The metric of `model` as it is, without an interval; with `label`, of that class alone."""
    together = np.zeros(len(answers.truth), dtype=np.int64)
    return float(score(metric, tallies(answers, metric, model, label, together, 1)[0]))


def p_value(
    answers: Answers,
    metric: str,
    model: str,
    *,
    versus: str | None = None,
    label: str | None = None,
    threshold: float = 0.0,
) -> float:
    """The one-sided p-value for the metric of `model`, or its difference to `versus`, being above `threshold`.

    With `label` it is that class alone. Raises TrainingError when no clip of the class is there.
    """
    return p_of(sampled(answers, metric, _terms(model, versus, label)), threshold)


def p_of(sample: Sample, threshold: float, *, is_below: bool = False) -> float:
    """The one-sided p-value for the quantity being above (or below) `threshold`; 1 where it cannot be told.

    Student's t with the cluster-robust standard error; for a single score on the logit scale (a loss: log), on which
    few speakers give a less lopsided estimate. Where few clips speak at all that would promise too much, so it is never
    smaller than the exact binomial test could be: a sign test of the clips on which two models differ, or that of a
    model that is right (wrong) on every clip.
    """
    from scipy import stats

    scale = _scale_of(sample)
    error = standard_error(sample) * scale.slope(sample.value)
    ahead = (-1 if is_below else 1) * (scale.to(sample.value) - scale.to(threshold))
    if _degrees(sample) < 1 or not np.isfinite(error) or (error == 0 and ahead <= 0):
        return 1.0
    student = float(stats.t.sf(ahead / error, _degrees(sample))) if error > 0 else 0.0
    return max(student, _smallest_p(sample, threshold, is_below))


def p_greater(sums: FloatArray, sizes: FloatArray, threshold: float = 0.0) -> FloatArray:
    """One-sided p-values for the mean per clip being above `threshold`: `sums` (..., clusters) -> (...).

    `sums` are those of a value per clip (a difference of hits, of probabilities ...) over each cluster, `sizes`
    (clusters,) how many clips it has; at least two clusters. The same as `p_value` for a mean, for many test sets at
    once; without its bound for test sets in which next to no clip differs.
    """
    from scipy import stats

    clusters, total, clips = sums.shape[-1], sums.sum(axis=-1, keepdims=True), sizes.sum()
    without = (total - sums) / (clips - sizes)
    spread = without - without.mean(axis=-1, keepdims=True)
    error = np.sqrt((clusters - 1) / clusters * (spread**2).sum(axis=-1))
    ahead = total[..., 0] / clips - threshold
    t = np.divide(ahead, error, out=np.where(ahead > 0, np.inf, -np.inf), where=error > 0)
    return np.asarray(stats.t.sf(t, clusters - 1))


def standard_error(sample: Sample) -> float:
    """The quantity's standard error: leave-one-cluster-out jackknife, within strata; not a number when one is all.

    Cameron and Miller 2015, "A practitioner's guide to cluster-robust inference", section VI (CV3).
    """
    total, variance = sample.tallies.sum(axis=0), 0.0
    for rows, counts in _distinct(sample):
        clusters, without = counts.sum(), sample.of(total - rows)
        mean = (counts * without).sum() / clusters
        variance += (clusters - 1) / clusters * (counts * (without - mean) ** 2).sum()
    return float(np.sqrt(variance))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted for there being several, in the same order.

    Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    adjusted, so_far = [1.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        so_far = adjusted[place] = max(so_far, min(1.0, (len(p_values) - rank) * p_values[place]))
    return adjusted


def _terms(model: str, versus: str | None, label: str | None) -> list[Term]:
    return [Term(model, label), *([Term(versus, label, weight=-1.0)] if versus is not None else [])]


def _degrees(sample: Sample) -> int:
    return sample.units - len(np.unique(sample.strata))


def _student(sample: Sample, confidence: float) -> tuple[float, float]:
    """Student's interval on the quantity's scale; the value alone where too few clusters give none."""
    from scipy import stats

    scale, value = _scale_of(sample), sample.value
    reach = stats.t.ppf((1 + confidence) / 2, max(_degrees(sample), 1)) * standard_error(sample) * scale.slope(value)
    if _degrees(sample) < 1 or not np.isfinite(reach) or reach == 0:
        return value, value
    least, most = sample.bounds
    low, high = scale.back(scale.to(value) - reach), scale.back(scale.to(value) + reach)
    return max(least, float(low)), min(most, float(high))


@dataclass(frozen=True)
class _Scale:
    """Where a quantity is more nearly symmetric about the truth: there, and back, and the slope of the way there."""

    to: Callable[[float], float]
    back: Callable[[float], float]
    slope: Callable[[float], float]


def _scale_of(sample: Sample) -> _Scale:
    if len(sample.terms) > 1 or not 0 < sample.value < sample.bounds[1]:
        return _Scale(float, float, lambda value: 1.0)
    if sample.metric in LOSSES:
        return _Scale(
            lambda value: float(np.log(max(value, _TINY))), lambda x: float(np.exp(x)), lambda value: 1 / value
        )
    return _Scale(
        lambda value: float(np.log(max(value, _TINY) / max(1 - value, _TINY))),
        lambda x: float(1 / (1 + np.exp(-x))),
        lambda value: 1 / (value * (1 - value)),
    )


def _smallest_p(sample: Sample, threshold: float, is_below: bool) -> float:
    if sample.discordant is not None and threshold == 0:
        return float(0.5**sample.discordant)
    if len(sample.terms) == 1 and sample.metric in METRICS:
        return float(np.clip(1 - threshold if is_below else threshold, 0, 1) ** sample.clips)
    return 0.0


def _distinct(sample: Sample) -> list[tuple[FloatArray, IntArray]]:
    """Per stratum the tallies that differ, and how many clusters have each: a few hundred for ten thousand clips."""
    return [np.unique(sample.tallies[sample.strata == s], axis=0, return_counts=True) for s in np.unique(sample.strata)]


def _drawn(sample: Sample, resamples: int, rng: np.random.Generator) -> Iterator[FloatArray]:
    """Totals of redrawn test sets, (draws, columns) at a time.

    Clusters with equal tallies are interchangeable, so what is drawn is how often each distinct tally comes up.
    """
    distinct = _distinct(sample)
    at_once = max(1, _CELLS_AT_ONCE // max(len(counts) for _, counts in distinct))
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        yield np.sum(
            [
                rng.multinomial(n := counts.sum(), counts / n, size=size).astype(float) @ rows
                for rows, counts in distinct
            ],
            axis=0,
        )


def _levels(units: int, confidence: float) -> tuple[float, float]:
    """The two quantiles to read off, widened so that few units give an interval as wide as Student's t would."""
    from scipy import stats

    if units < 2:
        return 0.0, 1.0
    t = stats.t.ppf((1 + confidence) / 2, units - 1) * np.sqrt(units / (units - 1))
    return float(stats.norm.cdf(-t)), float(stats.norm.cdf(t))
