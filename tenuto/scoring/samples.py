"""A quantity to be estimated from a test set: a weighted sum of scores, over clusters that can be drawn or left out.

One score, the difference of two models, the gap between two groups, and how that gap differs between two models are
all such sums. Here they become one table of tallies; `tenuto.scoring.statistics` says how sure they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tenuto.errors import TrainingError
from tenuto.scoring.tallies import LOSSES, METRICS, Answers, BoolArray, FloatArray, IntArray, bounds, score, tallies

MIN_UNITS = 5
"""With fewer units than this their spread cannot be estimated: clips are drawn within each unit instead."""

ALIKE_WITHIN_UNITS = {"score": 0.2, "difference": 0.03}
"""Correlation of a unit's clips that is taken for granted where no clip differs and none can be measured.

The design effect is then 1 + it x (clips a unit - 1). At 1 only units would count, and five speakers could not show a
perfect model to be above 0.5. Scores in `benchmarks/coverage.py` have 0.17; for differences it is twice that of
`benchmarks/wear.py` (1.3 at 20 clips a speaker).
"""

_NEXT_TO_NOTHING = 1e-12
_SEES_HITS = ("accuracy", "balanced_accuracy", "recall")


@dataclass(frozen=True)
class Term:
    """A model's metric over the clips in `mask` (None: all), times `weight`; with `label`, of that class alone."""

    model: str
    label: str | None = None
    mask: BoolArray | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Alike:
    """Clips that all came out the same way, so that no draw shows how much lower or higher the quantity may be.

    `sizes` says how many independent clips they are worth, for each class where the metric is a mean of classes.
    """

    sizes: tuple[float, ...]
    down: float
    up: float

    def doubt(self, level: float) -> float:
        """The highest mean over the classes of the share that may be otherwise, though none was seen at `level`.

        That is the exact bound for no event in n clips; over classes the worst of all shares under which seeing none
        is no less likely than `level`, so that a class of one clip leaves its whole share in doubt.
        """
        sizes = np.sort(np.array(self.sizes))
        for few in range(len(sizes), 0, -1):  # classes with many clips may be beyond doubt
            n = sizes[:few]
            kept = n * np.exp((np.log(level) - (n * np.log(n)).sum()) / n.sum())
            if kept[-1] <= 1:
                break
        return float((1 - kept).sum() / len(sizes))


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
        alike=tuple(_alike(kept, metric, seen, counting)),
        discordant=_discordant(kept, metric, seen),
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
    """Where one of two models never lost to the other, or one that is not compared was always right or wrong."""
    found = []
    is_by_unit = _fewest_groups(answers, counting) >= MIN_UNITS
    pairs = _pairs(terms)
    for i, j in pairs:
        seen = _differ(answers, metric, terms[i], terms[j].model)
        lost, won = seen.copy(), seen.copy()
        if metric not in LOSSES:
            lost &= ~_is_right(answers, terms[i].model, terms[i].label)
            won &= ~_is_right(answers, terms[j].model, terms[j].label)
        sizes = _sizes(answers, metric, terms[i].label, counting[i], is_by_unit, ALIKE_WITHIN_UNITS["difference"])
        found.append(_one_sided(sizes, terms[i].weight, not lost.any(), not won.any()))
    for i in set(range(len(terms))) - {place for pair in pairs for place in pair}:
        right = (answers.predicted[terms[i].model] == answers.truth)[counting[i]]
        may_fall, may_rise = bool(right.all()), not right.any()
        if metric in LOSSES:
            may_fall, may_rise = may_rise, may_fall
        sizes = _sizes(answers, metric, terms[i].label, counting[i], is_by_unit, ALIKE_WITHIN_UNITS["score"])
        found.append(_one_sided(sizes, terms[i].weight, may_fall, may_rise))
    return [same for same in found if same.down or same.up]


def _one_sided(sizes: tuple[float, ...], weight: float, may_fall: bool, may_rise: bool) -> Alike:
    down, up = (may_fall, may_rise) if weight > 0 else (may_rise, may_fall)
    return Alike(sizes, abs(weight) * down, abs(weight) * up)


def _sizes(
    answers: Answers, metric: str, label: str | None, counted: BoolArray, is_by_unit: bool, correlation: float
) -> tuple[float, ...]:
    """How many independent clips those counted are worth; of each class, where the metric is a mean of classes.

    A unit that is hard is so in every class, so the design effect is that of all its clips.
    """
    is_macro = label is None and metric in METRICS and metric != "accuracy"
    parts = [counted & (answers.truth == c) for c in np.unique(answers.truth[counted])] if is_macro else [counted]
    each = counted.sum() / len(np.unique(answers.units[counted])) if is_by_unit else 1.0
    return tuple(float(part.sum() / (1 + correlation * (each - 1))) for part in parts)


def _pairs(terms: Sequence[Term]) -> list[tuple[int, int]]:
    """The terms of two models on the same clips."""
    return [
        (i, j)
        for i, one in enumerate(terms)
        for j, other in enumerate(terms)
        if i < j and one.model != other.model and one.mask is other.mask and one.label == other.label
    ]


def _is_right(answers: Answers, model: str, label: str | None) -> BoolArray:
    said = answers.predicted[model]
    if label is None:
        return said == answers.truth
    code = answers.labels.index(label)
    return np.asarray((said == code) == (answers.truth == code))


def _differ(answers: Answers, metric: str, term: Term, other: str) -> BoolArray:
    """Where the metric sees that the two models answered differently, (n,)."""
    if metric in LOSSES:
        seen = (answers.probabilities[term.model] != answers.probabilities[other]).any(axis=1)
    elif term.label is None and metric not in _SEES_HITS:
        seen = answers.predicted[term.model] != answers.predicted[other]
    else:
        seen = _is_right(answers, term.model, term.label) != _is_right(answers, other, term.label)
    if metric in _SEES_HITS:
        seen = seen & answers.counting(term.label)
    return np.asarray(seen if term.mask is None else seen & term.mask)


def _discordant(answers: Answers, metric: str, terms: Sequence[Term]) -> int | None:
    pairs = _pairs(terms)
    if len(terms) != 2 * len(pairs):
        return None
    return sum(int(_differ(answers, metric, terms[i], terms[j].model).sum()) for i, j in pairs)
