"""What a test set leaves open though no clip of it shows it: a model that was never wrong, two that never differed.

Neither draws nor a standard error can tell how far such a score may be from the truth; the number of clips can.
Separate from `tenuto.scoring.samples`, which says what is drawn where clips do differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tenuto.scoring import ranking
from tenuto.scoring.tallies import (
    LOSSES,
    METRICS,
    RANKED,
    Answers,
    BoolArray,
    IntArray,
    Labels,
    indicated,
    wrong_labels,
)

ALIKE_WITHIN_UNITS = {"score": 0.2, "difference": 0.03}
"""Correlation of a unit's clips that is taken for granted where no clip differs and none can be measured.

The design effect is then 1 + it x (clips a unit - 1). At 1 only units would count, and five speakers could not show a
perfect model to be above 0.5. Scores in `benchmarks/coverage.py` have 0.17; for differences it is twice that of
`benchmarks/wear.py` (1.3 at 20 clips a speaker).
"""


_SEES_HITS = ("balanced_accuracy", "recall")


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


def alike(
    answers: Answers, metric: str, terms: Sequence[Term], counting: Sequence[BoolArray], *, is_by_unit: bool
) -> list[Alike]:
    """Where one of two models never lost to the other, or one that is not compared was always right or wrong."""
    found = []
    pairs = _pairs(terms)
    for i, j in pairs:
        seen = _differ(answers, metric, terms[i], terms[j].model)
        lost, won = seen.copy(), seen.copy()
        if metric in METRICS:
            wrong, others = (_wrong(answers, terms[place].model, terms[i].label) for place in (i, j))
            lost &= wrong >= others
            won &= others >= wrong
        sizes = _sizes(answers, metric, terms[i].label, counting[i], is_by_unit, ALIKE_WITHIN_UNITS["difference"])
        found.append(_one_sided(sizes, terms[i].weight, not lost.any(), not won.any()))
    for i in set(range(len(terms))) - {place for pair in pairs for place in pair}:
        may_fall, may_rise = _is_extreme(answers, metric, terms[i], counting[i])
        sizes = _sizes(answers, metric, terms[i].label, counting[i], is_by_unit, ALIKE_WITHIN_UNITS["score"])
        found.append(_one_sided(sizes, terms[i].weight, may_fall, may_rise))
    return [same for same in found if same.down or same.up]


def discordant(answers: Answers, metric: str, terms: Sequence[Term]) -> int | None:
    """On how many clips two models differ; None unless the terms compare two models on the same clips."""
    pairs = _pairs(terms)
    if len(terms) != 2 * len(pairs):
        return None
    return sum(int(_differ(answers, metric, terms[i], terms[j].model).sum()) for i, j in pairs)


def _is_extreme(answers: Answers, metric: str, term: Term, counted: BoolArray) -> tuple[bool, bool]:
    """Whether all that was seen is as good as can be, so that only less may be true, or as bad as can be."""
    if metric in RANKED:
        looked_at = np.ones(len(counted), dtype=bool) if term.mask is None else term.mask
        columns = answers.columns(term.label)
        truth = indicated(answers.truth, len(answers.labels))[looked_at][:, columns]
        return ranking.is_perfect(truth, answers.probabilities[term.model][looked_at][:, columns]), False
    truth, said = _seen(answers, term.label, answers.truth, answers.predicted[term.model])
    all_right: BoolArray = np.asarray(wrong_labels(truth, said) == 0)
    hits = all_right if metric == "accuracy" else np.asarray((truth & said).any(axis=1))
    found = bool(all_right[counted].all()), not hits[counted].any()
    return found[::-1] if metric in LOSSES else found


def _one_sided(sizes: tuple[float, ...], weight: float, may_fall: bool, may_rise: bool) -> Alike:
    down, up = (may_fall, may_rise) if weight > 0 else (may_rise, may_fall)
    return Alike(sizes, abs(weight) * down, abs(weight) * up)


def _sizes(
    answers: Answers, metric: str, label: str | None, counted: BoolArray, is_by_unit: bool, correlation: float
) -> tuple[float, ...]:
    """How many independent clips those counted are worth; of each class, where the metric is a mean of classes.

    A unit that is hard is so in every class, so the design effect is that of all its clips.
    """
    is_macro = label is None and metric in (*METRICS, *RANKED) and metric not in ("accuracy", "micro_f1")
    classes = indicated(answers.truth, len(answers.labels)).T
    parts = [counted & those for those in classes if (counted & those).any()] if is_macro else [counted]
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


def _wrong(answers: Answers, model: str, label: str | None) -> IntArray:
    """How many labels of each clip the model answered wrongly, (n,); with `label` whether it was wrong about that."""
    return wrong_labels(*_seen(answers, label, answers.truth, answers.predicted[model]))


def _differ(answers: Answers, metric: str, term: Term, other: str) -> BoolArray:
    """Where the metric sees that the two models answered differently, (n,)."""
    if metric not in METRICS:
        seen = (answers.probabilities[term.model] != answers.probabilities[other]).any(axis=1)
    else:
        truth, one, two = _seen(
            answers, term.label, answers.truth, answers.predicted[term.model], answers.predicted[other]
        )
        if metric == "accuracy":
            seen = (one == truth).all(axis=1) != (two == truth).all(axis=1)
        else:
            seen = ((one != two) & truth if metric in _SEES_HITS else one != two).any(axis=1)
    return np.asarray(seen if term.mask is None else seen & term.mask)


def _seen(answers: Answers, label: str | None, *codes: Labels) -> list[BoolArray]:
    """Each as (n, classes): all classes, or `label` alone."""
    return [indicated(each, len(answers.labels))[:, answers.columns(label)] for each in codes]
