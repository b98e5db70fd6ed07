"""Expectations that what is tested was not trained on: by group, by near-duplicate, by the champion."""

from __future__ import annotations

import pandas as pd
from pydantic import Field

from tenuto.records import GROUP_PREFIX
from tenuto.validation.base import (
    Outcome,
    TableExpectation,
    Tables,
    at_most_clips,
    count,
    limit,
    percent,
    sentence_list,
    whole_group,
)


def contaminated(clips: pd.DataFrame, champion: pd.DataFrame) -> frozenset[str]:
    """The ids of test clips that the champion was trained or chosen on, or a near-duplicate of them.

    `champion` is the clips table of the run that made the champion.
    """
    seen = champion[champion["split"].isin(["train", "validation"])]
    known = set(seen["clip_id"]) | set(seen["family"])
    test = clips[clips["split"] == "test"]
    return frozenset(test.loc[test["clip_id"].isin(known) | test["family"].isin(known), "clip_id"])


class GroupLeakage(TableExpectation):
    """No speaker (recording, site) is in two splits."""

    group: str = "auto"
    action = "nothing: the scores flatter the model; set split.group, or record enough groups for three splits"

    def wanted(self) -> str:
        return f"no {'speaker, recording or site' if self.group == 'auto' else self.group} is in two splits"

    def named_groups(self) -> tuple[str, ...]:
        return () if self.group == "auto" else (self.group,)

    def check(self, tables: Tables) -> Outcome:
        group = whole_group(tables.clips, self.group)
        if group is None:
            return Outcome(True, "not checked: the clips have no speaker, recording or site")
        return _in_two_splits(tables, GROUP_PREFIX + group, group)


class NearDuplicateLeakage(TableExpectation):
    """No recording is in two splits, neither itself nor as a near-duplicate (by acoustic fingerprint)."""

    action = "nothing: the scores flatter the model; take one of the recordings out of the source"

    def wanted(self) -> str:
        return "no clip has a near-duplicate in another split"

    def check(self, tables: Tables) -> Outcome:
        return _in_two_splits(tables, "family", "family of near-duplicates")


class SetAside(TableExpectation):
    """Few clips had to be set aside because they would leak from one split into another."""

    at_most_share: float = Field(default=0.01, ge=0, lt=1)
    action = "they are in the dataset and in no split; the clips table tells of each why"

    def wanted(self) -> str:
        return f"at most {percent(self.at_most_share)} of the clips are set aside"

    def check(self, tables: Tables) -> Outcome:
        aside = tables.of_split("aside")
        share = len(aside) / len(tables.clips) if len(tables.clips) else 0.0
        summary = (
            f"{count(len(aside), 'clip')} ({percent(share)}) set aside, because near-duplicates of them or their group "
            f"are in another split; at most {percent(self.at_most_share)} wanted"
        )
        if aside.empty:
            summary = "no clip is set aside"
        return Outcome(
            share <= self.at_most_share,
            summary,
            at_most_clips(aside["clip_id"]),
            observed={"clips": len(aside), "share": share},
        )


class ChampionContamination(TableExpectation):
    """The champion was not trained on clips that are now tested."""

    at_most_share: float = Field(default=0.0, ge=0, lt=1)
    action = (
        "what the champion trained on is left out for all models wherever they are compared with it; when that is "
        "unknown, they are not compared"
    )

    def wanted(self) -> str:
        return f"the champion was trained on {limit(self.at_most_share)} of the test clips"

    def check(self, tables: Tables) -> Outcome:
        if tables.champion is None and tables.has_champion:
            return Outcome(False, "what the champion was trained on is unknown: its run has no clips table")
        if tables.champion is None:
            return Outcome(True, "not checked: there is no champion yet")
        known, total = contaminated(tables.clips, tables.champion), len(tables.of_split("test"))
        share = len(known) / total if total else 0.0
        figures = (
            f"{len(known):,} of {count(total, 'test clip')} ({percent(share)}); {limit(self.at_most_share)} wanted"
        )
        summary = f"the champion was trained on {figures if known else 'none of the test clips'}"
        return Outcome(
            share <= self.at_most_share, summary, at_most_clips(known), observed={"clips": len(known), "share": share}
        )


def _in_two_splits(tables: Tables, column: str, noun: str) -> Outcome:
    clips = tables.used.dropna(subset=[column])
    splits = clips.groupby(column)["split"].nunique()
    torn = splits.index[splits > 1]
    leaking = clips[clips[column].isin(torn)]
    observed = {"groups": len(torn), "clips": len(leaking)}
    if torn.empty:
        return Outcome(True, f"no {noun} is in two splits ({len(splits):,} checked)", observed=observed)
    where = leaking.groupby(column)["split"].unique()
    named = sentence_list(f"{name} in {' and '.join(sorted(splits, reverse=True))}" for name, splits in where.items())
    return Outcome(
        False,
        f"the same {noun} is in two splits: {named} ({count(len(leaking), 'clip')})",
        at_most_clips(leaking["clip_id"]),
        tuple(f"{column.removeprefix(GROUP_PREFIX)}={name}" for name in torn),
        observed,
    )
