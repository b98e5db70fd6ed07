"""What is rare among the training clips."""

from __future__ import annotations

from typing import Literal

import pandas as pd
from pydantic import Field

from tenuto.errors import TrainingError
from tenuto.learning import augment
from tenuto.records import GROUP_PREFIX, Record

MIN_CLIPS = 5
"""Of the rarest class, and of the rarest value of a group: with fewer to choose by, no remedy is chosen."""

Asked = Literal["test", "validation"]
"""The split whose clips are scored."""


class Rare(Record):
    """What is rarest in training: a class, and a value of a group that the splits share."""

    label: str
    label_clips: int
    group: str | None = None
    value: str | None = None
    value_clips: int = 0
    is_rare: bool = Field(default=True, description="the class has under half of the median, or a value is rare")


def find_rare(clips: pd.DataFrame, asked: Asked = "test") -> Rare:
    """The rarest class of the training clips, and the rarest value of a group that all splits share, if it is rare.

    Raises TrainingError when the split that is asked has no clip of that class.
    """
    train, test = clips[clips["split"] == "train"], clips[clips["split"] == asked]
    counts = train["label"].value_counts()
    label = str(counts.index[-1])
    if not (test["label"] == label).any():
        raise TrainingError(f"The rarest class, {label!r}, has no {asked} clip: no remedy can be measured. Add some.")
    columns = augment.shared_groups(clips)
    values = {column: train[column].value_counts() for column in columns}
    testable = {c: n[n.index.isin(test[c].dropna())] for c, n in values.items()}
    shares = {c: n.iloc[-1] / n.median() for c, n in testable.items() if len(n) > 1}
    shares = {c: share for c, share in shares.items() if share < augment.RARE_SHARE}
    if not shares:
        is_rare = bool(counts.iloc[-1] < augment.RARE_SHARE * counts.median())
        return Rare(label=label, label_clips=int(counts.iloc[-1]), is_rare=is_rare)
    column = min(shares, key=lambda c: shares[c])
    return Rare(
        label=label,
        label_clips=int(counts.iloc[-1]),
        group=column.removeprefix(GROUP_PREFIX),
        value=str(testable[column].index[-1]),
        value_clips=int(testable[column].iloc[-1]),
    )


def too_few(clips: pd.DataFrame, rare: Rare) -> str:
    """Why the validation clips cannot tell; empty when they can. It names no group, which may be a person."""
    validation = clips[clips["split"] == "validation"]
    counts = {f"class {rare.label!r}": int((validation["label"] == rare.label).sum())}
    if rare.group:
        counts[f"the rarest {rare.group}"] = int((validation[GROUP_PREFIX + rare.group] == rare.value).sum())
    return "; ".join(
        f"{count} validation clips of {what} are too few to tell (wanted {MIN_CLIPS})"
        for what, count in counts.items()
        if count < MIN_CLIPS
    )
