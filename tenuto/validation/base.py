"""What all expectations share: the tables that they judge, what they find, and how they say it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import pandas as pd

from tenuto.dataset.manifest import group_names
from tenuto.labels import LabelType
from tenuto.splitting.splits import AUTOMATIC_GROUPS
from tenuto.typed_yaml import Section

AT_MOST_CLIPS = 50
"""So many offending clips are named in a finding."""

AT_MOST_NAMED = 5
"""So many offenders are named in a sentence; all of them are in the record."""

USED_SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Tables:
    """What there is to judge: the clips table, the recordings left out, and the clips tables to compare with.

    `reference` is that of the version that was trained last; without it and `champion` nothing is compared.
    `has_champion` tells a champion whose table is gone from none at all; `kind`, whether clips have one label or many.
    """

    clips: pd.DataFrame
    quarantine: pd.DataFrame = field(default_factory=lambda: pd.DataFrame({"reason": []}, dtype=str))
    reference: pd.DataFrame | None = None
    champion: pd.DataFrame | None = None
    has_champion: bool = False
    kind: LabelType = "one"

    @property
    def used(self) -> pd.DataFrame:
        """The clips that are not set aside."""
        return used(self.clips)

    def of_split(self, split: str) -> pd.DataFrame:
        return self.clips[self.clips["split"] == split]


@dataclass(frozen=True)
class Outcome:
    """What one expectation found: the sentence with the figures, and who is concerned."""

    success: bool
    summary: str
    clips: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    observed: dict[str, Any] = field(default_factory=dict)


class Expectation(Section):
    """One entry's arguments. `action` is what the flow does about it when the severity is 'warn'."""

    action: ClassVar[str]

    @abstractmethod
    def wanted(self) -> str:
        """One sentence that says what is wanted, for the documentation of the suite."""

    def named_groups(self) -> tuple[str, ...]:
        """The groups that the arguments name, which the clips must therefore have."""
        return ()


class TableExpectation(Expectation):
    """An expectation about the clips as a whole."""

    @abstractmethod
    def check(self, tables: Tables) -> Outcome:
        """What is found in the tables."""


@dataclass(frozen=True)
class Rows:
    """A rule for one column that most rows must keep.

    `kind` is 'between' (`minimum` and `maximum`, either None), 'in set' (`values`) or 'unique'.
    """

    column: str
    kind: Literal["between", "in set", "unique"]
    minimum: float | None = None
    maximum: float | None = None
    values: tuple[Any, ...] = ()


def used(clips: pd.DataFrame) -> pd.DataFrame:
    """The clips that are in a split rather than set aside."""
    return clips[clips["split"].isin(USED_SPLITS)]


def whole_group(clips: pd.DataFrame, group: str | None) -> str | None:
    """The group that is kept whole: the one named, or for 'auto' the speaker, recording or site."""
    if group != "auto":
        return group
    return next((name for name in AUTOMATIC_GROUPS if name in group_names(clips)), None)


def at_most_clips(clip_ids: Iterable[Any]) -> tuple[str, ...]:
    """The first clip ids in order, as many as a finding may name."""
    return tuple(sorted(str(clip) for clip in clip_ids)[:AT_MOST_CLIPS])


def sentence_list(items: Iterable[str]) -> str:
    """The first few items, and how many more there are."""
    listed = list(items)
    more = f" and {len(listed) - AT_MOST_NAMED:,} more" if len(listed) > AT_MOST_NAMED else ""
    return ", ".join(listed[:AT_MOST_NAMED]) + more


def percent(share: float) -> str:
    """A share as people write it: '0.8 %', '12 %'."""
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def limit(share: float) -> str:
    """The most that is wanted: 'at most 5 %', and 'none' for 0."""
    return "none" if share == 0 else f"at most {percent(share)}"


def count(number: int, noun: str) -> str:
    """'1 clip', '1,200 clips'."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
