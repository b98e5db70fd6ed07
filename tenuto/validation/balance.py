"""Expectations about how many clips each class and each group has, and whether a group tells the label."""

from __future__ import annotations

import math

import pandas as pd
from pydantic import Field

from tenuto import labels
from tenuto.dataset.manifest import by_label, group_names
from tenuto.records import GROUP_PREFIX, Split
from tenuto.validation.base import (
    USED_SPLITS,
    Outcome,
    TableExpectation,
    Tables,
    count,
    sentence_list,
    whole_group,
)
from tenuto.validation.statistics import cramers_v, imbalance_ratio

FILLED = "rare classes are filled with augmented clips of their own (augment.fill)"


class ClassImbalance(TableExpectation):
    """The largest class of a split has at most so many times the clips of the smallest."""

    split: Split = "train"
    at_most: float = Field(default=3.0, ge=1)
    action = FILLED

    def wanted(self) -> str:
        return f"in {self.split}, the largest class has at most {self.at_most:g} times the clips of the smallest"

    def check(self, tables: Tables) -> Outcome:
        counts = _clips_per_class(tables, self.split)
        ratio = imbalance_ratio(counts)
        success = ratio <= self.at_most
        times = f"{ratio:.1f} to 1" if math.isfinite(ratio) else "none to compare with"
        summary = (
            f"{'even classes' if success else 'class imbalance'} in {self.split}: "
            f"'{counts.idxmin()}' has {count(counts.min(), 'clip')}, the largest class {counts.max():,} "
            f"({times}, at most {self.at_most:.1f} wanted)"
        )
        rare = counts.index[counts * self.at_most < counts.max()]
        observed = {"ratio": ratio if math.isfinite(ratio) else None, "clips": counts.to_dict()}
        return Outcome(success, summary, groups=tuple(f"label={label}" for label in rare), observed=observed)


class ClipsPerClass(TableExpectation):
    """Each class has so many clips in each split."""

    train: int = Field(default=20, ge=0)
    validation: int = Field(default=3, ge=0)
    test: int = Field(default=20, ge=0)
    action = f"in train, {FILLED}; in test, the scores of these classes come with wide intervals"

    def wanted(self) -> str:
        return (
            f"each class has at least {count(self.train, 'clip')} in train, {self.validation:,} in validation "
            f"and {self.test:,} in test"
        )

    def check(self, tables: Tables) -> Outcome:
        counts = {split: _clips_per_class(tables, split) for split in USED_SPLITS}
        wanted = {"train": self.train, "validation": self.validation, "test": self.test}
        few = [
            (str(label), split, f"'{label}' has {clips:,} in {split} ({wanted[split]:,} wanted)")
            for split in USED_SPLITS
            for label, clips in counts[split].items()
            if clips < wanted[split]
        ]
        if few:
            summary = f"too few clips of a class: {sentence_list(text for *_, text in few)}; {_remedy(few)}"
        else:
            least = ", ".join(f"{counts[split].min():,} in {split}" for split in USED_SPLITS)
            summary = f"the smallest class has {least}"
        groups = tuple(dict.fromkeys(f"label={label}" for label, *_ in few))
        observed = {split: counts[split].to_dict() for split in USED_SPLITS}
        return Outcome(not few, summary, groups=groups, observed=observed)


class GroupsPerClass(TableExpectation):
    """Each class is heard from so many groups (speakers, sites), so that it is not the group that is learnt."""

    group: str = "auto"
    split: Split = "train"
    at_least: int = Field(default=3, ge=1)
    action = "nothing makes up for it: the model may learn the few voices of a class; record it from more groups"

    def wanted(self) -> str:
        whose = "speakers, recordings or sites" if self.group == "auto" else f"values of {self.group}"
        return f"each class is heard from at least {self.at_least:,} {whose} in {self.split}"

    def named_groups(self) -> tuple[str, ...]:
        return () if self.group == "auto" else (self.group,)

    def check(self, tables: Tables) -> Outcome:
        group = whole_group(tables.clips, self.group)
        if group is None:
            return Outcome(True, "not checked: the clips have no speaker, recording or site")
        column = GROUP_PREFIX + group
        heard = by_label(tables.of_split(self.split), tables.kind).groupby("label")[column].nunique()
        heard = heard.reindex(_labels(tables), fill_value=0)
        few = heard[heard < self.at_least]
        summary = f"every class is heard from {heard.min():,} or more in {self.split} (by {group})"
        if not few.empty:
            named = sentence_list(f"'{label}' from {number:,}" for label, number in few.items())
            summary = f"classes heard from few (by {group}) in {self.split}: {named}; at least {self.at_least:,} wanted"
        groups = tuple(f"label={label}" for label in few.index)
        return Outcome(few.empty, summary, groups=groups, observed={"group": group, "heard_from": heard.to_dict()})


class ClipsPerGroup(TableExpectation):
    """Each value of a group that is not kept whole, such as an accent, has so many training clips."""

    groups: tuple[str, ...] | None = None
    at_least: int = Field(default=30, ge=1)
    action = (
        "rare groups are filled with augmented clips of their own (augment.fill); their recall is reported by itself"
    )

    def wanted(self) -> str:
        named = ", ".join(self.groups) if self.groups else "every group that is not kept whole"
        return f"each value of {named} has at least {count(self.at_least, 'clip')} in train"

    def named_groups(self) -> tuple[str, ...]:
        return self.groups or ()

    def check(self, tables: Tables) -> Outcome:
        whole = whole_group(tables.clips, "auto")
        names = self.groups or tuple(name for name in group_names(tables.clips) if name != whole)
        if not names:
            return Outcome(True, "not checked: the clips have no group beside the one that is kept whole")
        counts = {name: _training_clips_per_value(tables, name) for name in names}
        rare = [
            (f"{name}={value}", clips)
            for name, per_value in counts.items()
            for value, clips in per_value.items()
            if clips < self.at_least
        ]
        named = sentence_list(f"{value} has {count(clips, 'clip')}" for value, clips in rare)
        summary = f"rare groups in train: {named}; at least {self.at_least:,} wanted"
        if not rare:
            summary = f"no rare groups in train ({', '.join(names)}): at least {count(self.at_least, 'clip')} each"
        observed = {name: per_value.to_dict() for name, per_value in counts.items()}
        return Outcome(not rare, summary, groups=tuple(value for value, _ in rare), observed=observed)


class LabelGroupAssociation(TableExpectation):
    """No group tells the label: bias-corrected Cramer's V of the label with each group."""

    groups: tuple[str, ...] | None = None
    at_most: float = Field(default=0.3, ge=0, le=1)
    action = (
        "nothing is rebalanced: the model may recognise the group instead of the label; compare the scores per group"
    )

    def wanted(self) -> str:
        named = ", ".join(self.groups) if self.groups else "any group"
        return f"the label is associated with {named} by a Cramer's V of at most {self.at_most:g}"

    def named_groups(self) -> tuple[str, ...]:
        return self.groups or ()

    def check(self, tables: Tables) -> Outcome:
        clips = tables.used
        names = self.groups or tuple(group_names(clips))
        values = {name: _association(clips[GROUP_PREFIX + name], tables) for name in names}
        telling = {name: value for name, value in values.items() if value > self.at_most}
        shown = sentence_list(f"{name} {value:.2f}" for name, value in (telling or values).items())
        summary = f"Cramer's V of the label with {shown or 'no group (there is none)'}; at most {self.at_most:g} wanted"
        if telling:
            summary = f"the label is associated with a group: {summary}"
        return Outcome(not telling, summary, groups=tuple(telling), observed={"cramers_v": values})


def _remedy(few: list[tuple[str, str, str]]) -> str:
    """What to do about classes that have too few clips in a split, given as (label, split, text)."""
    labels = sentence_list(dict.fromkeys(f"'{label}'" for label, *_ in few))
    shares = [f"split.{split}" for split in ("validation", "test") if split in {short for _, short, _ in few}]
    return f"add recordings of {labels}" + (f", or raise {' and '.join(shares)}" if shares else "")


def _association(group: pd.Series, tables: Tables) -> float:
    """Cramer's V of the label with a group of the used clips; with several labels a clip, of the one it tells best."""
    label = tables.used["label"]
    if tables.kind == "one":
        return cramers_v(label, group)
    has = pd.DataFrame(labels.matrix(label.to_numpy(), _labels(tables)), index=label.index)
    return max((cramers_v(has[name], group) for name in has), default=0.0)


def _labels(tables: Tables) -> list[str]:
    return list(labels.classes(tables.clips["label"].dropna(), tables.kind))


def _clips_per_class(tables: Tables, split: str) -> pd.Series:
    """The number of clips of every class of the dataset, 0 included, as int by label."""
    each = by_label(tables.of_split(split), tables.kind)["label"]
    return each.value_counts().reindex(_labels(tables), fill_value=0).astype(int)


def _training_clips_per_value(tables: Tables, group: str) -> pd.Series:
    """The number of training clips of every value of a group that is in any split, 0 included."""
    column = GROUP_PREFIX + group
    known = sorted(tables.used[column].dropna().unique())
    return tables.of_split("train")[column].value_counts().reindex(known, fill_value=0).astype(int)
