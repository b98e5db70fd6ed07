"""How sure a score or a difference of scores is, given which clips and speakers happened to be in the test set.

A test set is a sample of speakers (or recordings, or sites) more than of clips: errors come in clumps, and an interval
that forgets it is far too narrow. For an interval whole units are drawn again and again with replacement, the same draw
for every model (paired), and the metric is computed anew each time; a draw is one multinomial vector, and all draws
together are one matrix product. Standard errors and p-values are in `tenuto.scoring.jackknife`.

Separate from `tenuto.scoring.metrics`, which computes point values for people with scikit-learn and fairlearn: this
module is its vectorised twin for resampling, and the tests hold the two against each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tenuto.records import Interval
from tenuto.scoring.jackknife import distinct, p_greater, p_of, standard_error, student_interval
from tenuto.scoring.samples import MIN_UNITS, Sample, resampled_by, sampled
from tenuto.scoring.tallies import (
    LOSSES,
    METRICS,
    RANKED,
    Answers,
    Counts,
    FloatArray,
    accuracy,
    f1,
    micro_f1,
    precision,
    recall,
    score,
    tallies,
)
from tenuto.scoring.unseen import Term

__all__ = [
    "LOSSES",
    "METRICS",
    "MIN_UNITS",
    "RANKED",
    "Answers",
    "Counts",
    "Sample",
    "Term",
    "accuracy",
    "f1",
    "holm",
    "interval",
    "interval_of",
    "is_drawn",
    "micro_f1",
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
_MOST_DISTINCT = 2_500


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
    covers too little with a dozen speakers, and an interval beyond a threshold never contradicts the p-value. With
    thousands of clusters that all differ the two agree, and only Student's, which costs no draws, is taken. Where no
    draw shows how much lower (higher) it may be, because every clip was called right (wrong) or one model lost (won)
    none against the other, the exact bound for no event in n clips widens it (`Alike.doubt`), n being the clips over
    a design effect.
    """
    value, students = sample.value, student_interval(sample, confidence)
    low, high = students
    if is_drawn(sample):
        draws = np.concatenate([sample.of(totals) for totals in _drawn(sample, resamples, rng)])
        low, high = (float(q) for q in np.nanquantile(draws, _levels(sample.units, confidence)))
    down, up = (sample.doubt((1 - confidence) / 2, is_up=is_up) for is_up in (False, True))
    least, most = sample.bounds
    return Interval(
        value=value,
        low=max(min(low, students[0], value - down), least),
        high=min(max(high, students[1], value + up), most),
        n=sample.clips,
        groups=sample.units,
        resampled=sample.resampled,
    )


def is_drawn(sample: Sample) -> bool:
    """Whether its interval takes draws at all; with too many clusters that all differ, Student's takes their place."""
    return sum(len(counts) for _, counts in distinct(sample)) <= _MOST_DISTINCT


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


def _drawn(sample: Sample, resamples: int, rng: np.random.Generator) -> Iterator[FloatArray]:
    """Totals of redrawn test sets, (draws, columns) at a time.

    Clusters with equal tallies are interchangeable, so what is drawn is how often each distinct tally comes up.
    """
    tallies_and_counts = distinct(sample)
    at_once = max(1, _CELLS_AT_ONCE // max(len(counts) for _, counts in tallies_and_counts))
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        yield np.sum(
            [
                rng.multinomial(n := counts.sum(), counts / n, size=size).astype(float) @ rows
                for rows, counts in tallies_and_counts
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
