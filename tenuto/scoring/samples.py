"""A quantity to be estimated from a test set: a weighted sum of scores, over clusters that can be drawn or left out.

One score, the difference of two models, the gap between two groups, and how that gap differs between two models are
all such sums. Here they become one table of tallies; `tenuto.scoring.statistics` says how sure they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tenuto.errors import TrainingError
from tenuto.scoring.tallies import Answers, BoolArray, FloatArray, IntArray, bounds, score, tallies
from tenuto.scoring.unseen import Alike, Term, alike, discordant

MIN_UNITS = 5
"""With fewer units than this their spread cannot be estimated: clips are drawn within each unit instead."""

_NEXT_TO_NOTHING = 1e-12


@dataclass(frozen=True)
class Sample:
    """The quantity and what it is made of.

    `tallies` (clusters, columns) hold the columns of each term side by side; clusters are drawn within their `strata`
    (clusters,). `units` counts what is independent, `clips` those of the first term. `discordant` counts the clips on
    which two models differ, and is None unless the quantity compares two models on the same clips.
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

    @property
    def has_few_units(self) -> bool:
        """Whether there are units, but too few of them to stand for others."""
        return self.resampled.endswith(" clips")

    def doubt(self, level: float, *, is_up: bool) -> float:
        """How much higher (or lower) than observed the quantity may be by what no clip shows, at the one-sided level.

        A share of the second term's score where `is_relative`.
        """
        total = sum((same.up if is_up else same.down) * same.doubt(level) for same in self.alike)
        return total / max(self.scores[1], _NEXT_TO_NOTHING) if self.is_relative else total

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
    shared: dict[int, BoolArray] = {id(term.mask): mask for term, mask in zip(terms, masks, strict=True)}
    seen = [replace(term, mask=shared[id(term.mask)]) for term in terms]
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
        alike=tuple(alike(kept, metric, seen, counting, is_by_unit=_fewest_groups(kept, counting) >= MIN_UNITS)),
        discordant=discordant(kept, metric, seen),
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
