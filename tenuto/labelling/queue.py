"""The queue: a folder with recordings to be labelled and queue.csv, which says what is known and decided of each.

The recordings are links to those beside the log of served predictions, so that what retention or an erasure takes away
is gone from the queue as well. queue.csv may also be filled in with a spreadsheet: a label is a decision.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from filelock import FileLock
from pydantic import Field, ValidationError

from tenuto.errors import DatasetError
from tenuto.labels import UNKNOWN, LabelType, joined, parts, parts_of
from tenuto.records import GROUP_PREFIX, Record

FILE_NAME = "queue.csv"
AUDIO = "audio"

Decision = Literal["", "labelled", "skipped", "unsure", "accepted"]


class Item(Record):
    """One recording in the queue."""

    audio: str = Field(description="relative to the folder")
    request_id: str
    position: int = 0
    version: str = Field(description="of the model that answered")
    clip_id: str
    at: datetime = Field(description="of the answer")
    duration_seconds: float | None = None
    predicted: str
    probability: float
    novelty: float | None = None
    reason: str = Field(description="why it is worth labelling: 'uncertain' or 'novel'")
    decision: Decision = ""
    label: str = Field(default="", description="'unknown' for none of the classes; several as 'dog;rain'")
    reviewer: str = ""
    decided_at: datetime | None = None
    groups: dict[str, str] = Field(default_factory=dict, description="columns group_<name>: who or what is heard")

    @property
    def key(self) -> tuple[str, int]:
        return self.request_id, self.position


COLUMNS = tuple(name for name in Item.model_fields if name != "groups")


def create(folder: Path, rows: pd.DataFrame, recordings: Path, group_names: Sequence[str]) -> tuple[Item, ...]:
    """The queue made of the rows of `choice.choose`, in place of one in which nothing is left to accept.

    `recordings` is the folder that the column `audio` refers to, `group_names` those that the dataset knows. Raises
    DatasetError when the queue in `folder` has labels that were not accepted.
    """
    if (folder / FILE_NAME).is_file() and (waiting := [i for i in entries(folder) if i.decision == "labelled"]):
        raise DatasetError(
            f"{folder / FILE_NAME} holds {len(waiting)} labels that were not accepted; run "
            "`tenuto label-queue accept`, or remove the file to give them up."
        )
    for link in (folder / AUDIO).glob("*"):
        link.unlink()
    (folder / AUDIO).mkdir(parents=True, exist_ok=True)
    items = []
    for number, row in enumerate(rows.to_dict("records"), start=1):
        recording = recordings / row["audio"]
        name = f"{AUDIO}/{number:04d}{recording.suffix}"
        (folder / name).symlink_to(os.path.relpath(recording.resolve(), (folder / AUDIO).resolve()))
        items.append(_new(name, row, group_names))
    _write(folder, items)
    return tuple(items)


def read(folder: Path) -> tuple[Item, ...]:
    """The `entries` whose recordings are still there."""
    return tuple(item for item in entries(folder) if is_kept(folder, item))


def is_kept(folder: Path, item: Item) -> bool:
    """Whether the recording is still there: retention or an erasure may have taken it."""
    return (folder / item.audio).is_file()


def entries(folder: Path) -> tuple[Item, ...]:
    """The queue in `folder`; a label without a decision was typed in and counts as one.

    Raises DatasetError when there is no queue, or for a line that cannot be read, by its number.
    """
    path = folder / FILE_NAME
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError:
        raise DatasetError(f"{path} is not there; `tenuto label-queue export` makes one.") from None
    lines = csv.DictReader(io.StringIO(text, newline=""))
    if missing := [name for name in COLUMNS if name not in (lines.fieldnames or ())]:
        raise DatasetError(f"{path} lacks the column {missing[0]!r}; wanted the header that `export` wrote.")
    return tuple(_item(path, lines.line_num, line) for line in lines)


def decide(
    folder: Path,
    key: tuple[str, int],
    decision: Decision,
    label: str = "",
    reviewer: str = "",
    groups: dict[str, str] | None = None,
) -> Item:
    """The item with the decision in it, which is on disk when this returns; KeyError when it is not in the queue, or
    its recording is gone."""
    with FileLock(folder / f".{FILE_NAME}.lock"):
        items = {item.key: item for item in entries(folder)}
        if not is_kept(folder, items[key]):
            raise KeyError(key)
        fresh = {"decision": decision, "label": label, "reviewer": reviewer, "decided_at": datetime.now(UTC)}
        items[key] = items[key].model_copy(update=fresh | ({"groups": groups} if groups is not None else {}))
        _write(folder, items.values())
    return items[key]


def accept(folder: Path, keys: Iterable[tuple[str, int]]) -> None:
    """Mark labels as taken in."""
    with FileLock(folder / f".{FILE_NAME}.lock"):
        accepted = set(keys)
        marked = [i.model_copy(update={"decision": "accepted"}) if i.key in accepted else i for i in entries(folder)]
        _write(folder, marked)


def checked(item: Item, classes: Sequence[str], kind: LabelType) -> Item:
    """The item with its label as a manifest writes it; DatasetError when it is none of `classes`."""
    if item.label == UNKNOWN:
        return item
    label = joined(parts(item.label)) if kind == "many" else item.label.strip()
    if wrong := [name for name in parts_of(label, kind) if name not in classes]:
        raise DatasetError(
            f"{FILE_NAME}, {item.audio}: the label {wrong[0]!r} is none of {', '.join(classes)} or {UNKNOWN}; a new "
            "class comes in with `tenuto data add`."
        )
    return item.model_copy(update={"label": label})


def _new(audio: str, row: Mapping[Any, Any], group_names: Sequence[str]) -> Item:
    """The item of a row of the log."""
    copied = ("request_id", "position", "version", "clip_id", "at", "probability", "reason")
    values = {name: row[name] for name in copied} | {"audio": audio, "predicted": row["label"]}
    facts = {name: row[name] if pd.notna(row[name]) else None for name in ("duration_seconds", "novelty")}
    groups = {name: (row["groups"] or {}).get(name, "") for name in group_names}
    return Item.model_validate(values | facts | {"groups": groups})


def _item(path: Path, number: int, line: dict[str, str]) -> Item:
    groups = {name.removeprefix(GROUP_PREFIX): value for name, value in line.items() if _is_group(name)}
    values = {name: line[name] for name in COLUMNS if line[name] or name in ("label", "predicted")}
    if values.get("label") and not values.get("decision"):
        values["decision"] = "labelled"
    try:
        return Item.model_validate(values | {"groups": groups})
    except ValidationError as error:
        wrong = error.errors()[0]
        name = str(wrong["loc"][0])
        raise DatasetError(f"{path}, line {number}: {name} is {line.get(name)!r}: {wrong['msg']}.") from None


def _is_group(name: str | None) -> bool:
    return name is not None and name.startswith(GROUP_PREFIX)


def _write(folder: Path, items: Iterable[Item]) -> None:
    """Replaces queue.csv, whole or not at all; of recordings that are gone it keeps labels yet to be accepted."""
    left = [item for item in items if item.decision == "labelled" or is_kept(folder, item)]
    rows = [item.model_dump(mode="json", exclude={"groups"}) | _group_columns(item) for item in left]
    names = list(dict.fromkeys((*COLUMNS, *(name for row in rows for name in row))))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    fresh = folder / f".{FILE_NAME}.part"
    with fresh.open("w", encoding="utf-8", newline="") as file:
        file.write(text.getvalue())
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(folder / FILE_NAME)


def _group_columns(item: Item) -> dict[str, str]:
    return {GROUP_PREFIX + name: value for name, value in item.groups.items()}
