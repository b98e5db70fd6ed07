"""Are two samples of one distribution? Permutation tests, whose p-values hold for any distribution and any size.

Both tests pool the samples and ask how often a random division of the pool differs as much as the real one does. All
that is learned from the data (bins, class means, whitening, kernel width) is learned from the pool, without a look at
who is in which sample; otherwise the test would see its own fitting. With 0 divisions the size alone is found, and
the p-value is 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from tenuto.validation.statistics import (
    category_counts,
    decile_counts,
    population_stabilities,
    population_stability,
)

Array = npt.NDArray[np.float64]

PERMUTATIONS = 9_999
"""So that the smallest p-value, 1/10,000, survives a correction for a dozen tests at a level of 0.002."""
MOST_CLIPS = 400
"""Of each sample in the kernel test; more are drawn from. Its time grows with the square."""

_ENOUGH = 20
_FIRST, _AT_ONCE = 200, 1_000
_ROUNDING = 1e-9  # divisions that are equal but for it count as such


@dataclass(frozen=True)
class Difference:
    """How far two samples lie apart, and how often chance alone brings them as far: `p_value` in (0, 1]."""

    size: float
    p_value: float


@dataclass(frozen=True)
class Draws:
    """Where random divisions come from, and how many are made at most."""

    rng: np.random.Generator
    most: int = PERMUTATIONS


def of_numbers(before: npt.ArrayLike, now: npt.ArrayLike, draws: Draws) -> Difference:
    """The population stability index over the deciles of both samples together; values that are NaN are left out."""
    first, second = (pd.Series(np.asarray(values, dtype=float)).dropna() for values in (before, now))
    pooled, later = decile_counts(pd.concat([first, second]), second)
    return _of_counts(pooled - later, later, draws)


def of_categories(before: Sequence[str], now: Sequence[str], draws: Draws) -> Difference:
    """The population stability index over the categories that occur in either."""
    _, first, second = category_counts(pd.Series(before, dtype=object), pd.Series(now, dtype=object))
    return _of_counts(first, second, draws)


def of_embeddings(
    before: npt.ArrayLike,
    now: npt.ArrayLike,
    classes_before: Sequence[str],
    classes_now: Sequence[str],
    draws: Draws,
) -> Difference:
    """The squared maximum mean discrepancy of embeddings (clips, dims) within their classes.

    From each embedding the mean of its class is taken away, and what is left is whitened: the test sees how clips of a
    class sound, not which classes there are, which `of_categories` sees. Of samples above MOST_CLIPS so many are drawn.
    Size: unbiased, about 0 for equal distributions, which may be below 0; Gaussian kernel, its width the median
    distance. Source: A. Gretton et al., A kernel two-sample test, JMLR 13 (2012), equation 3.
    """
    samples, classes = [], []
    for rows, names in ((before, classes_before), (now, classes_now)):
        kept = draws.rng.permutation(len(names))[:MOST_CLIPS]
        samples.append(np.asarray(rows, dtype=float).reshape(len(names), -1)[kept])
        classes.append(np.asarray(names, dtype=object)[kept])
    first = len(samples[0])
    if min(first, len(samples[1])) < 2:
        return Difference(0.0, 1.0)
    kernel = gaussian_kernel(whitened(np.concatenate(samples), np.concatenate(classes))).astype(np.float32)
    division = np.arange(len(kernel)) < first
    observed = float(discrepancies(kernel, division[None])[0])

    def drawn(divisions: int) -> Array:
        return discrepancies(kernel, draws.rng.permuted(np.tile(division, (divisions, 1)), axis=1))

    return Difference(observed, _p_value(observed, drawn, draws.most))


def whitened(embeddings: Array, classes: npt.NDArray[np.object_]) -> Array:
    """(clips, dims) less the mean of each class, with unit covariance (shrunk as Ledoit and Wolf do, 2004)."""
    from sklearn.covariance import ledoit_wolf

    codes = np.unique(classes.astype(str), return_inverse=True)[1]
    sums = np.zeros((codes.max() + 1, embeddings.shape[1]))
    np.add.at(sums, codes, embeddings)
    left: Array = embeddings - (sums / np.bincount(codes)[:, None])[codes]
    if not left.any():
        return left
    values, vectors = np.linalg.eigh(ledoit_wolf(left, assume_centered=True)[0])
    found: Array = left @ vectors / np.sqrt(values)
    return found


def gaussian_kernel(rows: Array) -> Array:
    """exp(-d^2 / m) of the distances d between (rows, dims), with m the median d^2; the diagonal is 0."""
    norms = (rows**2).sum(axis=1)
    squared = np.maximum(norms[:, None] + norms[None] - 2 * rows @ rows.T, 0)
    median = float(np.median(squared[np.triu_indices(len(rows), 1)]))
    kernel: Array = np.exp(-squared / median) if median > 0 else np.ones_like(squared)
    np.fill_diagonal(kernel, 0)
    return kernel


def discrepancies(kernel: npt.NDArray[np.floating], is_first: npt.NDArray[np.bool_]) -> Array:
    """The unbiased squared discrepancy for each division (divisions, rows) into a first and a second sample.

    All divisions have the same number of rows in the first; `kernel` (rows, rows) has a diagonal of 0.
    """
    ones = is_first.astype(kernel.dtype)
    first = int(is_first[0].sum())
    second = len(kernel) - first
    inside = ((ones @ kernel) * ones).sum(axis=1, dtype=float)
    across = ones @ kernel.sum(axis=1, dtype=float) - inside
    outside = kernel.sum(dtype=float) - inside - 2 * across
    found: Array = inside / (first * (first - 1)) + outside / (second * (second - 1)) - 2 * across / (first * second)
    return found


def _of_counts(before: Array, now: Array, draws: Draws) -> Difference:
    if not before.sum() or not now.sum():
        return Difference(0.0, 1.0)
    pooled, later = (before + now).astype(np.int64), int(now.sum())

    def drawn(divisions: int) -> Array:
        # clips are divided at random and keep their bins: what falls to the later sample is hypergeometric
        counts = draws.rng.multivariate_hypergeometric(pooled, later, size=divisions)
        return population_stabilities(pooled - counts, counts)

    observed = population_stability(before, now)
    return Difference(observed, _p_value(observed, drawn, draws.most))


def _p_value(observed: float, drawn: Callable[[int], Array], most: int) -> float:
    """How often a random division differs as much, given `drawn`, which makes the figures of so many divisions.

    Ends at the twentieth that does, since the p-value is large then and known well enough. Source: J. Besag and P.
    Clifford, Sequential Monte Carlo p-values, Biometrika 78 (1991).
    """
    done = as_far = 0
    while done < most:
        found = drawn(min(_FIRST if not done else _AT_ONCE, most - done))
        reached = as_far + np.cumsum(found >= observed - _ROUNDING)
        if reached[-1] >= _ENOUGH:
            return _ENOUGH / (done + int(np.argmax(reached >= _ENOUGH)) + 1)
        done, as_far = done + len(found), int(reached[-1])
    return (1 + as_far) / (1 + most)
