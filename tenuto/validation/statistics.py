"""The figures behind the expectations: association, drift and imbalance as plain numbers."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

MISSING = "(none)"


def imbalance_ratio(counts: pd.Series) -> float:
    """How many times the smallest class the largest one is; infinity when a class has no clip, 1 without classes."""
    if counts.empty:
        return 1.0
    return float(counts.max() / counts.min()) if counts.min() > 0 else math.inf


def cramers_v(first: pd.Series, second: pd.Series) -> float:
    """How far one category tells the other, in [0, 1]: Cramer's V with Bergsma's bias correction.

    Rows in which either is missing are left out. 0 when either has a single value left.
    Source: W. Bergsma, A bias-correction for Cramer's V and Tschuprow's T, J. Korean Stat. Soc. 42 (2013).
    """
    table = pd.crosstab(first, second).to_numpy(dtype=float)
    n, (rows, columns) = table.sum(), table.shape
    if n < 2 or min(rows, columns) < 2:
        return 0.0
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / n
    phi2 = float(((table - expected) ** 2 / expected).sum()) / n
    unbiased = max(0.0, phi2 - (rows - 1) * (columns - 1) / (n - 1))
    smaller_side = min(rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1)) - 1
    return min(1.0, math.sqrt(unbiased / smaller_side)) if smaller_side > 0 else 0.0


def population_stability(before: np.ndarray, now: np.ndarray) -> float:
    """The population stability index of two histograms over the same bins; 0 is no change, above 0.2 a large one.

    `before` and `now` are counts, shape (bins,). Every share is raised by that of half a clip in the smaller of
    the two, so that an empty bin has one. 0 when either holds nothing.
    Source: N. Siddiqi, Credit Risk Scorecards (2006): the sum of (q - p) ln(q / p).
    """
    if not before.sum() or not now.sum():
        return 0.0
    return float(population_stabilities(before, now))


def population_stabilities(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """As `population_stability`, of many pairs of histograms at once, shape (..., bins); none of them may be empty."""
    totals = [counts.sum(axis=-1, keepdims=True) for counts in (before, now)]
    half_a_clip = 0.5 / np.minimum(*totals)
    p, q = (counts / total + half_a_clip for counts, total in zip((before, now), totals, strict=True))
    p, q = (shares / shares.sum(axis=-1, keepdims=True) for shares in (p, q))
    found: np.ndarray = ((q - p) * np.log(q / p)).sum(axis=-1)
    return found


def category_counts(before: pd.Series, now: pd.Series) -> tuple[pd.Index, np.ndarray, np.ndarray]:
    """The categories of both in order, and how often each occurs in the one and in the other.

    A missing value is the category MISSING.
    """
    first, second = (series.fillna(MISSING).astype(str).value_counts() for series in (before, now))
    categories = first.index.union(second.index)
    first, second = (counts.reindex(categories, fill_value=0) for counts in (first, second))
    return categories, first.to_numpy(dtype=float), second.to_numpy(dtype=float)


def decile_counts(before: pd.Series, now: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """How many values fall between the deciles of `before`, in the one and in the other.

    A value on which several deciles fall, such as the length of clips that are all cut alike, gets a bin of its own.
    """
    values = [series.dropna().to_numpy(dtype=float) for series in (before, now)]
    if values[0].size == 0:
        return np.zeros(1), np.array([float(values[1].size)])
    deciles, repeats = np.unique(np.quantile(values[0], np.linspace(0.1, 0.9, 9)), return_counts=True)
    edges = np.union1d(deciles, np.nextafter(deciles[repeats > 1], -np.inf))
    first, second = (np.bincount(np.searchsorted(edges, v, side="left"), minlength=len(edges) + 1) for v in values)
    return first.astype(float), second.astype(float)
