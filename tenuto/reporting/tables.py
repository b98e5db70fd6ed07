"""The run's tables on disk as small values for the page: clips per split, and what was quarantined."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tenuto.labels import LabelType, parts

SPLITS = ("train", "validation", "test", "golden", "aside")
MOST_QUARANTINED = 100
MOST_ASIDE = 5

USED = {
    "two-labels": "two-labels: where the clip was in the dataset already, it stays there with the label that it had.",
    "conflicting-groups": "conflicting-groups: the clip is used, with the groups that it came with first.",
    "unknown-column": "unknown-column: no recording; the clips are used without this column.",
    "several-labels": "several-labels: no recording; the clips are used, each with its text as one label.",
}
"""Reasons for which a clip is trained or tested on all the same, and how."""


@dataclass(frozen=True)
class Splits:
    """How many clips of each label went where."""

    rows: list[tuple[str, list[int], int]]  # label, clips per split, their sum; rarest training label first
    totals: list[int]
    names: list[str]
    aside: list[tuple[str, int]]  # why clips were left out of every split, and how many


@dataclass(frozen=True)
class Quarantine:
    """What was not taken in, the reasons with their counts, and the first rows; `notes` say what was used even so."""

    total: int
    reasons: list[tuple[str, int]]
    rows: list[dict[str, str]]
    notes: list[str]


def read(path: Path | None) -> pd.DataFrame | None:
    """The table at `path`, None when there is none."""
    return pd.read_parquet(path) if path is not None and path.is_file() else None


def splits(clips: pd.DataFrame | None, kind: LabelType = "one") -> Splits | None:
    """Clips per label and split, None without a clips table.

    With several labels a clip it counts for each of them, and without any as 'none'; totals count it once.
    """
    if clips is None or "split" not in clips:
        return None
    names = [name for name in SPLITS if (clips["split"] == name).any()]
    each = clips if kind == "one" else clips.assign(label=clips["label"].map(_labels_of)).explode("label")
    counts = pd.crosstab(each["label"], each["split"]).reindex(columns=names, fill_value=0)
    counts = counts.sort_values(names[0], kind="stable") if names else counts
    rows = [(str(label), [int(n) for n in row], int(row.sum())) for label, row in counts.iterrows()]
    return Splits(rows, [int((clips["split"] == name).sum()) for name in names], names, _aside(clips))


def _labels_of(text: str) -> tuple[str, ...]:
    return parts(text) or ("none",)


def _aside(clips: pd.DataFrame) -> list[tuple[str, int]]:
    if "aside_reason" not in clips:
        return []
    reasons = clips.loc[clips["split"] == "aside", "aside_reason"].value_counts()
    most = [(str(reason), int(n)) for reason, n in reasons.head(MOST_ASIDE).items()]
    rest = int(reasons.iloc[MOST_ASIDE:].sum())
    return [*most, ("for reasons such as these", rest)] if rest else most


def quarantine(path: Path | None) -> Quarantine | None:
    """The quarantine table, None when it is absent or empty."""
    table = read(path)
    if table is None or table.empty:
        return None
    rows = table.fillna("").astype(str).sort_values(["reason", "path"], kind="stable")
    reasons = [(str(reason), int(n)) for reason, n in rows["reason"].value_counts().items()]
    first = rows.head(MOST_QUARANTINED)[["path", "label", "reason", "detail"]]
    shown = [{str(k): v for k, v in row.items()} for row in first.to_dict("records")]
    return Quarantine(len(rows), reasons, shown, [USED[reason] for reason, _ in reasons if reason in USED])
