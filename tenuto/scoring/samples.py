"""A quantity to be estimated from a test set: a weighted sum of scores, over clusters that can be drawn or left out.

One score, the difference of two models, the gap between two groups, and how that gap differs between two models are
all such sums. Here they become one table of tallies; `tenuto.scoring.statistics` says how sure they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tenuto.errors import TrainingError
from tenuto.scoring.tallies import LOSSES, Answers, BoolArray, FloatArray, IntArray, bounds, score, tallies

MIN_UNITS = 5
"""With fewer units than this their spread cannot be estimated: clips are drawn within each unit instead."""

_NEXT_TO_NOTHING = 1e-12


@dataclass(frozen=True)
class Term:
    """A model's metric over the clips in `mask` (None: all), times `weight`; with `label`, of that class alone."""

    model: str
    label: str | None = None
    mask: BoolArray | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Alike:
    """`clips` that all came out the same way, so that no draw shows how much lower or higher the quantity may be."""

    clips: int
    down: float
    up: float


@dataclass(frozen=True)
class Sample:
    """The quantity and what it is made of.

    `tallies` (clusters, columns) hold the columns of each term side by side; clusters are drawn within their `strata`
    (clusters,). `units` counts what is independent, `clips` those of the first term. `discordant` counts the clips on
    which two models differ, and is None unless the quantity is the difference of two models on the same clips.
    """

    metric: str
    terms: tuple[Term, ...]
    is_relative: bool
    tallies: FloatArray
    strata: IntArray
    units: int
    clips: int
    resampled: str
    alike: tuple[Alike, ...]
    discordant: int | None

    @property
    def value(self) -> float:
        """The quantity as observed."""
        return float(self.of(self.tallies.sum(axis=0)))

    @property
    def scores(self) -> tuple[float, ...]:
        """The score of each term as observed, before any weight."""
        blocks = np.split(self.tallies.sum(axis=0), len(self.terms))
        return tuple(float(score(self.metric, block)) for block in blocks)

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest value that the quantity can have."""
        if self.is_relative:
            return -np.inf, np.inf
        least, most = bounds(self.metric)
        ends = [sorted((term.weight * least, term.weight * most)) for term in self.terms]
        return sum(end[0] for end in ends), sum(end[1] for end in ends)

    def of(self, totals: FloatArray) -> FloatArray:
        """The quantity of totals (..., columns): (...); a share of the second term's score where `is_relative`."""
        scores = [score(self.metric, block) for block in np.split(totals, len(self.terms), axis=-1)]
        total = np.sum([term.weight * s for term, s in zip(self.terms, scores, strict=True)], axis=0)
        return np.asarray(total / np.maximum(scores[1], _NEXT_TO_NOTHING) if self.is_relative else total)


def sampled(answers: Answers, metric: str, terms: Sequence[Term], is_relative: bool = False) -> Sample:
    """The weighted sum of the terms' scores over the clips that any of them looks at.

    Clusters are the units; but where any term has fewer than `MIN_UNITS` of them, clips within each unit.

    Raises TrainingError when a term has no clip.
    """
    masks = [np.ones(len(answers.truth), dtype=bool) if t.mask is None else t.mask for t in terms]
    kept = answers.where(looked_at := np.logical_or.reduce(masks))
    masks = [mask[looked_at] for mask in masks]
    counting = [kept.counting(term.label) & mask for term, mask in zip(terms, masks, strict=True)]
    for term, counted in zip(terms, counting, strict=True):
        if not counted.any():
            raise TrainingError(f"No test clip{f' of class {term.label!r}' if term.label else ''}: nothing to score.")
    clusters, strata, units = _clusters(kept, counting)
    blocks = [
        tallies(kept, metric, term.model, term.label, np.where(mask, clusters, -1), len(strata))
        for term, mask in zip(terms, masks, strict=True)
    ]
    return Sample(
        metric=metric,
        terms=tuple(terms),
        is_relative=is_relative,
        tallies=np.concatenate(blocks, axis=1),
        strata=strata,
        units=units,
        clips=int(counting[0].sum()),
        resampled=resampled_by(kept, counting),
        alike=tuple(_alike(kept, metric, terms, counting)),
        discordant=_discordant(kept, metric, terms, masks),
    )


def resampled_by(answers: Answers, counting: Sequence[BoolArray] = ()) -> str:
    """What a draw takes again, for a sentence: 'clip', '12 speakers', or "2 speakers' clips" where so few."""
    looked_at = np.logical_or.reduce(counting) if counting else np.ones(len(answers.truth), dtype=bool)
    units = answers.units[looked_at]
    groups = len(np.unique(units))
    if groups == len(units):
        return "clip"
    plural = f"{groups} {answers.unit_name}{'s' if groups != 1 else ''}"
    owner = f"{plural}'" if groups != 1 else f"{plural}'s"
    return plural if _fewest_groups(answers, counting or [looked_at]) >= MIN_UNITS else f"{owner} clips"


def _fewest_groups(answers: Answers, counting: Sequence[BoolArray]) -> int:
    return min(len(np.unique(answers.units[counted])) for counted in counting)


def _clusters(answers: Answers, counting: Sequence[BoolArray]) -> tuple[IntArray, IntArray, int]:
    """Cluster of each clip (n,), stratum of each cluster, and how many independent units there are."""
    groups, clips = _fewest_groups(answers, counting), min(int(counted.sum()) for counted in counting)
    _, units = np.unique(answers.units, return_inverse=True)
    if groups >= MIN_UNITS or groups == clips:
        return units, np.zeros(units.max() + 1, dtype=np.int64), groups
    return np.arange(len(units)), units, clips


def _alike(answers: Answers, metric: str, terms: Sequence[Term], counting: Sequence[BoolArray]) -> list[Alike]:
    """Two models that agree on every clip, or (where they are not compared) one that is always right or wrong."""
    found = []
    for i, term in enumerate(terms):
        twins = [j for j, other in enumerate(terms) if other.model != term.model and other.mask is term.mask]
        clips, weight = int(counting[i].sum()), abs(term.weight)
        if (
            twins
            and twins[0] > i
            and not _differ(answers, metric, term.model, terms[twins[0]].model)[counting[i]].any()
        ):
            found.append(Alike(clips, weight, weight))
        if not twins:
            right = (answers.predicted[term.model] == answers.truth)[counting[i]]
            may_fall, may_rise = (right.all(), not right.any())
            if (metric in LOSSES) != (term.weight < 0):
                may_fall, may_rise = may_rise, may_fall
            if may_fall or may_rise:
                found.append(Alike(clips, weight * may_fall, weight * may_rise))
    return found


def _differ(answers: Answers, metric: str, model: str, other: str) -> BoolArray:
    if metric in LOSSES:
        return np.asarray((answers.probabilities[model] != answers.probabilities[other]).any(axis=1))
    return answers.predicted[model] != answers.predicted[other]


def _discordant(answers: Answers, metric: str, terms: Sequence[Term], masks: Sequence[BoolArray]) -> int | None:
    if len(terms) != 2 or terms[0].model == terms[1].model or terms[0].mask is not terms[1].mask:
        return None
    differ = _differ(answers, metric, terms[0].model, terms[1].model) & masks[0]
    if terms[0].label is not None:
        label = answers.labels.index(terms[0].label)
        differ &= np.logical_or.reduce([answers.truth == label, *(answers.predicted[t.model] == label for t in terms)])
    return int(differ.sum())
