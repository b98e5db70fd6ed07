"""Finds the recordings that an erasure or a removal is asked for, among all that are known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

import pandas as pd

from tenuto.errors import DatasetError, SettingsError
from tenuto.records import GROUP_PREFIX
from tenuto.tracing.erasure.refusals import Refusals


def joined(known: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The known clips and those of another table that are not among them, each once."""
    new = table[~table["clip_id"].isin(known["clip_id"])]
    return pd.concat([known, new], ignore_index=True) if len(new) else known


def pair(text: str) -> tuple[str, str]:
    """Group and value of 'speaker=ann'; raises SettingsError when the text is not of that form."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise SettingsError(f"--group {text!r}: wanted NAME=VALUE, such as speaker=ann.")
    return name, value


def of_groups(known: pd.DataFrame, asked: Sequence[tuple[str, str]], refused: Refusals) -> Iterator[str]:
    """The ids of the clips of these groups; raises DatasetError for a group or value that no clip has."""
    names = sorted(column.removeprefix(GROUP_PREFIX) for column in known.columns if column.startswith(GROUP_PREFIX))
    for name, value in asked:
        if name not in names:
            raise DatasetError(
                f"--group {name}={value}: the recordings have no group {name!r}{_meant(name, names)}; "
                f"known groups: {', '.join(names) or 'none'}."
            )
        column = known[GROUP_PREFIX + name]
        if value in set(column.dropna()):
            yield from known.loc[column == value, "clip_id"]
        elif number := refused.of_groups({name: value}):
            raise DatasetError(
                f"{name}={value} was erased before (erasures/{number}.json); nothing of it is left here."
            )
        else:
            values = sorted({str(one) for one in column.dropna()})
            raise DatasetError(
                f"--group {name}={value}: no recording has this {name}{_meant(value, values)}; "
                f"{len(values)} are known: {', '.join(values[:8])}{' ...' if len(values) > 8 else ''}."
            )


def of_ids(known: pd.DataFrame, clips: Sequence[str]) -> Iterator[str]:
    """The ids, each of a known clip; raises DatasetError for any other."""
    every = sorted(known["clip_id"])
    for clip in clips:
        if clip not in set(every):
            raise DatasetError(
                f"--clip {clip}: no recording has this id{_meant(clip, every)}; wanted the 32 hex digits that "
                "the report and `tenuto audit` show."
            )
        yield clip


def of_labels(known: pd.DataFrame, labels: Sequence[str]) -> Iterator[str]:
    """The ids of the clips with these labels; raises DatasetError for a label that no clip has."""
    every = sorted(set(known["label"]))
    for label in labels:
        if label not in every:
            raise DatasetError(
                f"--label {label}: no recording has this label{_meant(label, every)}; "
                f"known labels: {', '.join(every) or 'none'}."
            )
        yield from known.loc[known["label"] == label, "clip_id"]


def _meant(given: str, known: Sequence[str]) -> str:
    close = get_close_matches(given, known, n=3)
    return f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""
