"""Expectations that the dataset is still the kind that the last trained version was: population stability indices."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

from tenuto.dataset.manifest import by_label, group_names
from tenuto.records import GROUP_PREFIX
from tenuto.validation.base import Outcome, TableExpectation, Tables, percent, sentence_list, used
from tenuto.validation.statistics import category_counts, decile_counts, population_stability

NO_REFERENCE = Outcome(True, "not compared: no version was trained yet")


class _Drift(TableExpectation):
    """A population stability index of at most so much against the version that was trained last."""

    at_most: float = Field(default=0.2, ge=0)
    action = "the candidate is trained on the data as it is now; the champion may no longer fit it"


class LabelDrift(_Drift):
    """The classes have about the same shares as in the version that was trained last."""

    def wanted(self) -> str:
        return f"the shares of the classes moved by a stability index of at most {self.at_most:g}"

    def check(self, tables: Tables) -> Outcome:
        each = replace(tables, clips=by_label(tables.clips, tables.kind))
        if tables.reference is not None:
            each = replace(each, reference=by_label(tables.reference, tables.kind))
        return _of_categories(each, {"label": "label"}, self.at_most)


class GroupDrift(_Drift):
    """The groups have about the same shares as in the version that was trained last."""

    groups: tuple[str, ...] | None = None

    def wanted(self) -> str:
        named = ", ".join(self.groups) if self.groups else "every group"
        return f"the shares within {named} moved by a stability index of at most {self.at_most:g}"

    def named_groups(self) -> tuple[str, ...]:
        return self.groups or ()

    def check(self, tables: Tables) -> Outcome:
        names = self.groups or tuple(group_names(tables.clips))
        return _of_categories(tables, {name: GROUP_PREFIX + name for name in names}, self.at_most)


class _NumberDrift(_Drift):
    column: ClassVar[str]
    noun: ClassVar[str]
    unit: ClassVar[str]

    def wanted(self) -> str:
        return f"the {self.noun} of the clips moved by a stability index of at most {self.at_most:g}"

    def check(self, tables: Tables) -> Outcome:
        if tables.reference is None:
            return NO_REFERENCE
        before, now = used(tables.reference)[self.column], tables.used[self.column]
        index = population_stability(*decile_counts(before, now))
        summary = (
            f"{self.noun} {'moved' if index > self.at_most else 'is steady'}: median {before.median():.3g} {self.unit} "
            f"in the last trained version, {now.median():.3g} {self.unit} now "
            f"(stability index {index:.2f}, at most {self.at_most:g} wanted)"
        )
        return Outcome(index <= self.at_most, summary, observed={"stability_index": index})


class DurationDrift(_NumberDrift):
    """The clips are about as long as in the version that was trained last."""

    column, noun, unit = "duration_seconds", "duration", "s"


class LevelDrift(_NumberDrift):
    """The clips are about as loud as in the version that was trained last."""

    column, noun, unit = "level_dbfs", "level", "dBFS"


def _of_categories(tables: Tables, columns: dict[str, str], at_most: float) -> Outcome:
    """The drift of each named column of categories; the values that moved most are named."""
    if tables.reference is None:
        return NO_REFERENCE
    before = used(tables.reference)
    indices: dict[str, float] = {}
    moved: list[str] = []
    texts: list[str] = []
    for name, column in columns.items():
        earlier = before[column] if column in before else pd.Series(None, index=before.index, dtype=object)
        values, was, is_now = category_counts(earlier, tables.used[column])
        indices[name] = population_stability(was, is_now)
        if indices[name] > at_most:
            changed = _changes(name, values, was, is_now)
            moved += [value for value, _ in changed]
            texts.append(f"{name} (stability index {indices[name]:.2f}): {sentence_list(text for _, text in changed)}")
    largest = f"largest stability index {max(indices.values(), default=0.0):.2f}"
    summary = f"shares moved in {'; '.join(texts)}" if texts else f"shares are steady ({largest})"
    return Outcome(not texts, f"{summary}; at most {at_most:g} wanted", groups=tuple(moved), observed=indices)


def _changes(name: str, values: pd.Index, was: np.ndarray, is_now: np.ndarray) -> list[tuple[str, str]]:
    """The values whose share changed by a fifth or more, the largest change first, with a text for each."""
    before, now = was / max(was.sum(), 1), is_now / max(is_now.sum(), 1)
    order = np.argsort(-np.abs(now - before), kind="stable")
    return [
        (f"{name}={values[i]}", f"{values[i]} {percent(before[i])} to {percent(now[i])}")
        for i in order
        if abs(now[i] - before[i]) > 0.2 * before[i]
    ]
