"""Which test clips a promotion rule looks at: all, one class, one group, or each class or group in turn.

Groups with too few clips of their own are judged together as one slice, so that many small groups (one per recording,
say) neither escape the rule nor block it. A class with too few clips is not pooled: every class matters by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tenuto.evaluation import CANDIDATE
from tenuto.policy import Rule
from tenuto.records import GROUP_PREFIX, Evaluation


@dataclass(frozen=True)
class Slice:
    """Some of the test clips; or, with `label`, all of them seen as that class against the rest."""

    name: str
    mask: NDArray[np.bool_]
    label: str | None = None

    @property
    def clips(self) -> int:
        return int(self.mask.sum())


@dataclass(frozen=True)
class Slices:
    """What one rule is judged on, and what there was too little of; `column` names the group column, if any."""

    judged: tuple[Slice, ...]
    too_small: tuple[Slice, ...] = ()
    column: str = ""
    missing: str = field(default="", kw_only=True)
    """Why there is nothing to judge, as a clause, when there is not."""
    is_applicable: bool = field(default=True, kw_only=True)

    @property
    def is_complete(self) -> bool:
        """True when whatever was too small may be passed over: some groups, never a class."""
        return not self.missing and bool(self.judged) and not any(s.label for s in self.too_small)


def slices_of(rule: Rule, table: pd.DataFrame, evaluation: Evaluation) -> tuple[Slices, ...]:
    """The slices of `rule` among the candidate's rows of the table of answers: one item per line of the verdict."""
    rows = table[table["model"] == CANDIDATE]
    kind, _, name = rule.of.partition("=")
    if rule.of == "overall":
        return (_by_size([Slice("", np.ones(len(rows), dtype=bool))], rule.min_clips),)
    if rule.of == "worst class":
        return (_by_size([_class(rows, label) for label in _classes(rows, evaluation)], rule.min_clips),)
    if kind == "class":
        return (_by_size([_class(rows, name)], rule.min_clips),)
    if rule.of == "worst group":
        columns = group_names(rows)
        nothing = Slices((), missing="the test clips have no group", is_applicable=False)
        return tuple(_groups(rows, column, rule.min_clips) for column in columns) or (nothing,)
    if kind == "worst group":
        return (_groups(rows, name, rule.min_clips),)
    return (_one_group(rows, kind, name, rule.min_clips),)


def group_names(rows: pd.DataFrame) -> list[str]:
    """The groups that any of the clips has, without their prefix."""
    columns = [column for column in rows.columns if column.startswith(GROUP_PREFIX)]
    return [column.removeprefix(GROUP_PREFIX) for column in columns if rows[column].notna().any()]


def _by_size(slices: list[Slice], min_clips: int) -> Slices:
    small = tuple(s for s in slices if s.clips < min_clips)
    return Slices(tuple(s for s in slices if s.clips >= min_clips), small)


def _classes(rows: pd.DataFrame, evaluation: Evaluation) -> list[str]:
    """Classes that are tested or that the candidate knows; others are the champion's, retired since."""
    tested = set(rows["label"])
    return [label for label in evaluation.labels if label in tested or (rows[f"p_{label}"] > 0).any()]


def _class(rows: pd.DataFrame, label: str) -> Slice:
    return Slice(f"class {label!r}", (rows["label"] == label).to_numpy(), label)


def _one_group(rows: pd.DataFrame, column: str, value: str, min_clips: int) -> Slices:
    if column not in group_names(rows):
        return _no_column(rows, column)
    mask = (rows[GROUP_PREFIX + column] == value).fillna(False).to_numpy(dtype=bool)
    return _by_size([Slice(f"{column} {value!r}", mask)], min_clips)


def _groups(rows: pd.DataFrame, column: str, min_clips: int) -> Slices:
    if column not in group_names(rows):
        return _no_column(rows, column)
    values = rows[GROUP_PREFIX + column]
    every = [
        Slice(f"{column} {value!r}", (values == value).fillna(False).to_numpy(dtype=bool))
        for value in sorted(values.dropna().unique())
    ]
    found = _by_size(every, min_clips)
    if len(found.too_small) < 2:
        return Slices(found.judged, found.too_small, column)
    together = np.logical_or.reduce([s.mask for s in found.too_small])
    pooled = _by_size([Slice(f"the {len(found.too_small)} smallest of {column} together", together)], min_clips)
    return Slices(found.judged + pooled.judged, pooled.too_small, column)


def _no_column(rows: pd.DataFrame, column: str) -> Slices:
    known = ", ".join(group_names(rows)) or "none"
    return Slices((), missing=f"the test clips have no group {column!r} (known: {known})")
