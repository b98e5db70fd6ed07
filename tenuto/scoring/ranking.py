"""Average precision: how well probabilities order the clips that have a label before those that do not.

It is no function of sums over clips, as the metrics of `tenuto.scoring.tallies` are: what one clip adds depends on
which others are there. For intervals it is therefore written as a mean over clips of pseudo-values, to first order in
the weights of the clips (the infinitesimal jackknife; Efron 1982, "The jackknife, the bootstrap and other resampling
plans", chapter 6). Then whole speakers can be drawn and left out as for every other metric, at any number of clips.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def precisions(is_it: BoolArray, p: FloatArray) -> FloatArray:
    """(n,): of the clips with at least the probability that each has, the share that has the label.

    `is_it` and `p` are (n,); equal probabilities share one threshold, as in scikit-learn.
    """
    at_least = np.searchsorted(np.sort(p), p, side="left")  # clips below each
    below = np.concatenate([[0], np.cumsum(is_it[np.argsort(p, kind="stable")])])
    found: FloatArray = (is_it.sum() - below[at_least]) / (len(p) - at_least)
    return found


def average_precision(is_it: BoolArray, p: FloatArray) -> float:
    """Mean over the clips with the label of `precisions`, in (0, 1]; not a number when no clip has it.

    The area under the precision-recall curve as scikit-learn's `average_precision_score` has it, without
    interpolation.
    """
    return float(precisions(is_it, p)[is_it].mean()) if is_it.any() else float("nan")


def pseudo_values(truth: BoolArray, p: FloatArray) -> FloatArray:
    """(n,), with the mean average precision of the classes that occur as their mean; `truth` and `p` (n, classes)."""
    columns = np.flatnonzero(truth.any(axis=0))
    if not len(columns):
        return np.full(len(truth), np.nan)
    return np.asarray(np.mean([_pseudo_values(truth[:, c], p[:, c]) for c in columns], axis=0))


def is_perfect(truth: BoolArray, p: FloatArray) -> bool:
    """Whether every clip with a label comes before all without it, in each of the classes."""
    return all(bool((precisions(truth[:, c], p[:, c])[truth[:, c]] == 1).all()) for c in range(truth.shape[1]))


def _pseudo_values(is_it: BoolArray, p: FloatArray) -> FloatArray:
    """The average precision plus n times its derivative with respect to each clip's weight.

    With weights w, of a clip with the label P = A / B, A the weight of those with it and at least its probability, B
    that of all with at least its probability. A clip counts in A and B of all with the label that lie no higher.
    """
    at = precisions(is_it, p)
    value = at[is_it].mean()
    heard = len(p) - np.searchsorted(np.sort(p), p, side="left")
    order = np.argsort(p, kind="stable")
    no_higher = np.searchsorted(p[order], p, side="right")
    gained, shared = (
        np.concatenate([[0.0], np.cumsum(np.where(is_it, part, 0.0)[order])])[no_higher]
        for part in (1 / heard, at / heard)
    )
    slope = (np.where(is_it, at - value + gained, 0.0) - shared) / is_it.sum()
    return np.asarray(value + len(p) * slope)
