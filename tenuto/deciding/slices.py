"""Which test clips a promotion rule looks at: all, one class, one group, or each class, group or band in turn.

Groups with too few clips of their own are judged together as one slice, so that many small groups (one per recording,
say) neither escape the rule nor block it; where they stay too few even so, together with the smallest that has enough.
A class with too few clips is not pooled: every class matters by itself. What
a rule names (a class, a group, a column) is required: where it is missing from the test clips, the rule fails.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from tenuto import labels
from tenuto.deciding.policy import Rule
from tenuto.labels import LabelType
from tenuto.records import GROUP_PREFIX, SLICE_PREFIX, Evaluation
from tenuto.scoring import acoustics
from tenuto.scoring.evaluation import CANDIDATE, group_names
from tenuto.scoring.tallies import BoolArray


@dataclass(frozen=True)
class Slice:
    """Some of the test clips; or, with `label`, all of them seen as that class against the rest.

    `plain` is the name without the name of any group. With `minus`, what is judged is the gap between the two.
    """

    name: str
    mask: BoolArray
    label: str | None = None
    plain: str = ""
    minus: Slice | None = None

    @property
    def clips(self) -> int:
        return int(self.mask.sum())

    @property
    def looked_at(self) -> BoolArray:
        """The clips that the metric is computed from: false alarms make all of them matter to a class."""
        return np.ones_like(self.mask) if self.label is not None else self.mask


@dataclass(frozen=True)
class Slices:
    """What one rule is judged on, and what there was too little of; `column` names the group column, if any."""

    judged: tuple[Slice, ...]
    too_small: tuple[Slice, ...] = ()
    column: str = ""
    missing: str = field(default="", kw_only=True)
    """What the rule names and the test clips lack, as a clause, when they do."""
    is_applicable: bool = field(default=True, kw_only=True)

    @property
    def is_complete(self) -> bool:
        """True when nothing that the rule looks at was missing or too small."""
        return not self.missing and bool(self.judged) and not self.too_small


def slices_of(rule: Rule, table: pd.DataFrame, evaluation: Evaluation) -> tuple[Slices, ...]:
    """The slices of `rule` among the candidate's rows of the table of answers: one item per line of the verdict."""
    rows = table[table["model"] == CANDIDATE]
    found = _slices_of(rule, rows, evaluation)
    if rule.minus is None:
        return found
    (other,) = _named(rule.minus, rows, rule.min_clips, evaluation.labels_per_clip)
    return tuple(_less(slices, other) for slices in found)


def _names(rows: pd.DataFrame, prefix: str) -> list[str]:
    columns = [column for column in rows.columns if column.startswith(prefix)]
    return [column.removeprefix(prefix) for column in columns if rows[column].notna().any()]


def _slices_of(rule: Rule, rows: pd.DataFrame, evaluation: Evaluation) -> tuple[Slices, ...]:
    kind, _, name = rule.of.partition("=")
    if rule.of == "worst class":
        classes = [_class(rows, label, evaluation.labels_per_clip) for label in _classes(rows, evaluation)]
        return (_by_size(classes, rule.min_clips),)
    if rule.of in ("worst group", "worst slice"):
        columns = group_names(rows) if rule.of == "worst group" else acoustics.kinds(rows)
        nothing = Slices((), missing=_nothing_judged(kind.removeprefix("worst "), rows), is_applicable=False)
        return tuple(_each(rows, column, rule.min_clips) for column in columns) or (nothing,)
    if kind in ("worst group", "worst slice"):
        return (_each(rows, name, rule.min_clips),)
    return _named(rule.of, rows, rule.min_clips, evaluation.labels_per_clip)


def _named(of: str, rows: pd.DataFrame, min_clips: int, labels_per_clip: LabelType) -> tuple[Slices]:
    kind, _, name = of.partition("=")
    if of == "overall":
        return (_by_size([Slice("", np.ones(len(rows), dtype=bool))], min_clips),)
    if kind == "class":
        part = _class(rows, name, labels_per_clip)
        return (_by_size([part], min_clips) if part.clips else _missing(f"class {name!r}"),)
    return (_one_group(rows, kind, name, min_clips),)


def _less(slices: Slices, other: Slices) -> Slices:
    """Each of `slices` less the one of `other`; nothing to judge where that one is missing or too small."""
    if slices.missing or other.missing:
        return replace(slices, judged=(), missing=slices.missing or other.missing)
    if not other.judged:
        return replace(slices, judged=(), too_small=other.too_small)
    (minus,) = other.judged
    return replace(slices, judged=tuple(replace(part, minus=minus) for part in slices.judged))


def _by_size(slices: list[Slice], min_clips: int) -> Slices:
    small = tuple(s for s in slices if s.clips < min_clips)
    return Slices(tuple(s for s in slices if s.clips >= min_clips), small)


def _classes(rows: pd.DataFrame, evaluation: Evaluation) -> list[str]:
    """Classes that are tested or that the candidate knows; others are the champion's, retired since."""
    tested = set(labels.classes(rows["label"], evaluation.labels_per_clip))
    return [label for label in evaluation.labels if label in tested or (rows[f"p_{label}"] > 0).any()]


def _class(rows: pd.DataFrame, label: str, kind: LabelType) -> Slice:
    there = labels.matrix(rows["label"].tolist(), [label], kind)[:, 0]
    return Slice(f"class {label!r}", there, label, f"class {label!r}")


def _one_group(rows: pd.DataFrame, column: str, value: str, min_clips: int) -> Slices:
    values = _values(rows, column)
    if values is None:
        return _no_column(rows, column)
    part = _part(column, values, value)
    return _by_size([part], min_clips) if part.clips else _missing(f"{column} {value!r}")


def _each(rows: pd.DataFrame, column: str, min_clips: int) -> Slices:
    values = _values(rows, column)
    if values is None:
        return _no_column(rows, column)
    found = _by_size([_part(column, values, value) for value in sorted(values.dropna().unique())], min_clips)
    small, kept = list(found.too_small), list(found.judged)
    if not small:
        return Slices(found.judged, (), column)
    if sum(part.clips for part in small) < min_clips and kept:
        smallest = min(range(len(kept)), key=lambda i: kept[i].clips)
        small.append(kept.pop(smallest))
    together = np.logical_or.reduce([part.mask for part in small])
    name = f"the {len(small)} smallest of {column} together"
    pooled = small[0] if len(small) == 1 else Slice(name, together, plain=name)
    if pooled.clips < min_clips:
        return Slices((), (pooled,), column)
    return Slices((*kept, pooled), (), column)


def _values(rows: pd.DataFrame, column: str) -> pd.Series | None:
    """The groups of that name, else the bands; None where no clip has any."""
    for prefix in (GROUP_PREFIX, SLICE_PREFIX):
        if column in _names(rows, prefix):
            return rows[prefix + column]
    return None


def _part(column: str, values: pd.Series, value: str) -> Slice:
    name = f"{column} {value!r}"
    is_group = values.name == GROUP_PREFIX + column
    mask = (values == value).fillna(False).to_numpy(dtype=bool)
    return Slice(name, mask, plain=f"one {column}" if is_group else name)


def _nothing_judged(kind: str, rows: pd.DataFrame) -> str:
    """Why a rule about all groups or bands has nothing to say, and what would give it something."""
    if kind == "slice":
        return f"the test clips have no slice; each of {', '.join(acoustics.KINDS)} would be judged"
    empty = [column.removeprefix(GROUP_PREFIX) for column in rows.columns if column.startswith(GROUP_PREFIX)]
    named = f"{', '.join(empty)} (all empty)" if empty else "speaker, accent, site or whatever the clips come with"
    return f"the test clips have no group, so none is looked after; every group column would be judged: {named}"


def _missing(what: str) -> Slices:
    return Slices((), missing=f"required slice missing: the test clips have no {what}")


def _no_column(rows: pd.DataFrame, column: str) -> Slices:
    known = ", ".join([*group_names(rows), *_names(rows, SLICE_PREFIX)]) or "none"
    return _missing(f"group or slice {column!r} (known: {known})")
