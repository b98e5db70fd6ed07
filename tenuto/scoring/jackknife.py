"""Leave one cluster out: standard errors, and what Student's t makes of them.

A bootstrap of thousands of draws is too coarse for the small p-values by which a worn test set must be judged, and the
bootstrap's percentiles are too narrow for a dozen speakers. Leaving each speaker out once answers both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tenuto.scoring.samples import Sample
from tenuto.scoring.tallies import LOSSES, METRICS, FloatArray, IntArray

_TINY = 1e-12
_SMALLEST = float(np.finfo(np.float64).tiny)
"""No evidence is certain: what underflows is said to be this."""


def standard_error(sample: Sample) -> float:
    """The quantity's standard error: leave-one-cluster-out jackknife, within strata; not a number when one is all.

    Cameron and Miller 2015, "A practitioner's guide to cluster-robust inference", section VI (CV3).
    """
    total, variance = sample.tallies.sum(axis=0), 0.0
    for rows, counts in distinct(sample):
        clusters, without = counts.sum(), sample.of(total - rows)
        mean = (counts * without).sum() / clusters
        variance += (clusters - 1) / clusters * (counts * (without - mean) ** 2).sum()
    return float(np.sqrt(variance))


def p_of(sample: Sample, threshold: float, *, is_below: bool = False) -> float:
    """The one-sided p-value for the quantity being above (or below) `threshold`; 1 where it cannot be told.

    Student's t with the cluster-robust standard error; for a single score on the logit scale (a loss: log), on which
    few speakers give a less lopsided estimate. Where few clips speak at all that would promise too much, so it is never
    smaller than the exact binomial test could be: a sign test of the clips on which two models differ, whatever the
    lead that is claimed, or that of no event where every clip came out the same way. Always above 0.
    """
    from scipy import stats

    scale = _scale_of(sample)
    error = standard_error(sample) * scale.slope(sample.value)
    ahead = (-1 if is_below else 1) * (scale.to(sample.value) - scale.to(threshold))
    if _degrees(sample) < 1 or not np.isfinite(error) or (error == 0 and ahead <= 0):
        return 1.0
    student = float(stats.t.sf(ahead / error, _degrees(sample))) if error > 0 else 0.0
    return max(student, _smallest_p(sample, threshold, is_below), _SMALLEST)


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


def student_interval(sample: Sample, confidence: float) -> tuple[float, float]:
    """Student's interval on the quantity's scale; the value alone where too few clusters give none."""
    from scipy import stats

    scale, value = _scale_of(sample), sample.value
    reach = stats.t.ppf((1 + confidence) / 2, max(_degrees(sample), 1)) * standard_error(sample) * scale.slope(value)
    if _degrees(sample) < 1 or not np.isfinite(reach) or reach == 0:
        return value, value
    least, most = sample.bounds
    low, high = scale.back(scale.to(value) - reach), scale.back(scale.to(value) + reach)
    return max(least, float(low)), min(most, float(high))


def distinct(sample: Sample) -> list[tuple[FloatArray, IntArray]]:
    """Per stratum the tallies that differ, and how many clusters have each: a few hundred for ten thousand clips."""
    return [np.unique(sample.tallies[sample.strata == s], axis=0, return_counts=True) for s in np.unique(sample.strata)]


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


def _degrees(sample: Sample) -> int:
    return sample.units - len(np.unique(sample.strata))


def _smallest_p(sample: Sample, threshold: float, is_below: bool) -> float:
    """What no exact test of so many clips could undercut, whatever the standard error."""
    if sample.discordant is not None and (threshold <= 0 if is_below else threshold >= 0):
        return float(0.5**sample.discordant)
    floors = [float(0.5**sample.clips), _p_unseen(sample, threshold, is_below)]
    if len(sample.terms) == 1 and sample.metric in METRICS:
        floors.append(float(np.clip(1 - threshold if is_below else threshold, 0, 1) ** sample.clips))
    return max(floors)


def _p_unseen(sample: Sample, threshold: float, is_below: bool) -> float:
    """The level at which what no clip shows would reach from the value to the threshold, by bisection."""
    distance = sample.value - threshold if not is_below else threshold - sample.value
    low, high = np.log(_SMALLEST), 0.0
    for _ in range(40):
        middle = (low + high) / 2
        is_within = sample.doubt(float(np.exp(middle)), is_up=is_below) < distance
        low, high = (low, middle) if is_within else (middle, high)
    return float(np.exp(high))
