"""Which of a source's recordings are new, which are there already, and which contradict one another.

Separate from `tenuto.dataset.ingest`, which reads sources and writes the dataset: here nothing is read or written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from tenuto import labels
from tenuto.dataset.sources import SourceEntry
from tenuto.labels import LabelType
from tenuto.records import GROUP_PREFIX, Quarantined


@dataclass(frozen=True)
class Found:
    """A recording of the source with what is known about its samples."""

    entry: SourceEntry
    file_sha256: str
    facts: dict[str, Any]

    @property
    def clip_id(self) -> str:
        return str(self.facts["clip_id"])


def sorted_out(
    usable: Iterable[Found], known: pd.DataFrame, kind: LabelType
) -> tuple[list[Found], int, list[Quarantined]]:
    """New clips by clip_id, how many recordings are there already, and recordings that contradict one another.

    With several labels a clip, one that a source has twice has the labels of both.
    """
    # what was added as one label a clip is as it was written, in any order
    written = known["label"] if kind == "one" else known["label"].map(lambda label: labels.joined(labels.parts(label)))
    truth = dict(zip(known["clip_id"], written, strict=True))
    groups = {row["clip_id"]: _groups_of(row) for row in known.to_dict("records")}
    by_clip: dict[str, list[Found]] = {}
    for found in usable:
        by_clip.setdefault(found.clip_id, []).append(found)
    new: dict[str, Found] = {}
    unchanged, doubtful = 0, []
    for clip, copies in sorted(by_clip.items()):
        if kind == "many":
            copies = _with_all_labels(copies)
        known_labels = {truth[clip]} if clip in truth else {found.entry.label for found in copies}
        for found in copies:
            if len(known_labels) > 1 or found.entry.label not in known_labels:
                doubtful.append(_two_labels(found, known_labels | {f.entry.label for f in copies}, clip in truth))
            elif groups.setdefault(clip, found.entry.groups) != found.entry.groups:
                doubtful.append(quarantined(found.entry, "conflicting-groups", _conflict(groups[clip], found.entry)))
            elif clip in truth or clip in new:
                unchanged += 1
            else:
                new[clip] = found
    return _without_lone_labels(new, known, doubtful, kind), unchanged, doubtful


def _with_all_labels(copies: list[Found]) -> list[Found]:
    """Recordings of the same samples, each with the labels of all of them."""
    union = labels.joined(part for found in copies for part in labels.parts(found.entry.label))
    return [replace(found, entry=replace(found.entry, label=union)) for found in copies]


def _groups_of(row: dict[Any, Any]) -> dict[str, str]:
    return {
        name.removeprefix(GROUP_PREFIX): value
        for name, value in row.items()
        if name.startswith(GROUP_PREFIX) and isinstance(value, str)
    }


def _two_labels(found: Found, names: set[str], in_dataset: bool) -> Quarantined:
    where = "in the dataset and this source" if in_dataset else "in this source"
    detail = f"the same samples are labelled {' and '.join(map(repr, sorted(names)))} {where}"
    return quarantined(found.entry, "two-labels", detail)


def _conflict(groups: dict[str, str], entry: SourceEntry) -> str:
    return f"the same samples are already there with {groups or 'no groups'}, here with {entry.groups or 'none'}"


def _without_lone_labels(
    new: dict[str, Found], known: pd.DataFrame, doubtful: list[Quarantined], kind: LabelType
) -> list[Found]:
    kept = list(new.values())
    while True:  # a clip that is left out may leave another of its labels alone
        whole = (*known["label"], *(found.entry.label for found in kept))
        counts = Counter(name for label in whole for name in labels.parts_of(label, kind))
        lone = {
            found.clip_id: name
            for found in kept
            for name in labels.parts_of(found.entry.label, kind)
            if counts[name] < 2
        }
        if not lone:
            return kept
        for found in kept:
            if name := lone.get(found.clip_id):
                detail = f"the only clip labelled {name!r}; a class needs two to be trained and tested"
                doubtful.append(quarantined(found.entry, "lone-label", detail))
        kept = [found for found in kept if found.clip_id not in lone]


def quarantined(entry: SourceEntry, reason: str, detail: str) -> Quarantined:
    return Quarantined(path=entry.shown, reason=reason, detail=detail, label=entry.label)
