"""Who is meant by an erasure, and how she is recognised in text.

A recording is known by its id, which is no ordinary word. A group's value may be one: a speaker called `7` or `test`
is replaced where the group's name stands beside it, and nowhere else.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Collection, Iterator
from functools import cached_property
from typing import Self
from urllib.parse import quote

import pandas as pd
from pydantic import Field

from tenuto.records import GROUP_PREFIX, Record

ERASED = "(erased)"
"""What stands where a name was."""

# fmt: off
_WORDS_OF_OURS = frozenset((
    "accuracy", "alias", "aside", "audio", "baseline", "candidate", "challenger", "champion", "class", "clip", "clips",
    "codec", "dataset", "decision", "duration", "evaluation", "fail", "false", "finished", "flow", "golden",
    "group", "inconclusive", "label", "level", "macro", "majority", "mlflow", "model", "name", "noise", "none", "null",
    "pass", "prefect", "previous", "promote", "promotion", "rate", "recall", "register", "reject", "report", "retrain",
    "rule", "run", "split", "tenuto", "test", "train", "true", "validation", "verdict", "version", "warn", "worst",
))
# fmt: on
_SHORTEST_NAME = 3
_CLIP_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")


class Identities(Record):
    """The recordings that are erased, and the names that go with them."""

    clips: tuple[str, ...] = Field(description="clip ids, sorted")
    groups: tuple[tuple[str, str], ...] = Field(
        default=(), description="(group, value) that are on no other recording: ('speaker', 'ann')"
    )
    sources: tuple[str, ...] = Field(default=(), description="names of their files where they came from")
    ordinary: tuple[str, ...] = Field(default=(), description="words that mean something else too")
    families: dict[str, str] = Field(
        default_factory=dict, description="near-duplicate families named after an erased clip: their new names"
    )

    @classmethod
    def of(
        cls,
        known: pd.DataFrame,
        clips: Collection[str],
        groups: Collection[tuple[str, str]],
        ordinary: Collection[str] = (),
    ) -> Self:
        """The identities of `clips` among all `known` ones, a manifest's rows; `groups` are those asked for.

        `ordinary` are further words that mean something else too, besides labels and other recordings' groups.
        """
        gone = known["clip_id"].isin(set(clips))
        kept = known[~gone]
        columns = [name for name in known.columns if name.startswith(GROUP_PREFIX)]
        words = set(known["label"]) | {name.removeprefix(GROUP_PREFIX) for name in columns} | set(ordinary)
        words |= {str(value) for name in columns for value in kept[name].dropna()}
        return cls(
            clips=tuple(sorted(clips)),
            groups=tuple(sorted({*groups, *_only_on(known[gone], kept, columns)})),
            sources=tuple(sorted(set(known.loc[gone, "source"]) - set(kept["source"]))),
            ordinary=tuple(sorted(words)),
            families=renamed_families(known[gone], kept),
        )

    @cached_property
    def ids(self) -> frozenset[str]:
        return frozenset(self.clips)

    @cached_property
    def _names(self) -> re.Pattern[str]:
        """Finds every file name and name of a group's value in running text, JSON, HTML and addresses."""
        alternatives = [re.escape(text) for source in self.sources for text in _variants(source)]
        for name, value in self.groups:
            beside = "" if self.is_distinctive(value) else rf"{re.escape(name)}\s?[=: ]\s?[\"'\\]{{0,3}}"
            alternatives += [beside + re.escape(text) for text in _variants(value)]
        longest_first = "|".join(sorted(alternatives, key=len, reverse=True))
        return re.compile(rf"(?<![^\W_])(?:{longest_first})(?![^\W_])" if alternatives else r"(?!)", re.IGNORECASE)

    def is_distinctive(self, value: str) -> bool:
        """True when a word can only mean her, wherever it stands."""
        plain = value.casefold()
        others = {word.casefold() for word in self.ordinary} | _WORDS_OF_OURS
        return len(plain) >= _SHORTEST_NAME and plain not in others and any(letter.isalpha() for letter in plain)

    def are_in(self, text: str) -> bool:
        return any(match in self.ids for match in _CLIP_ID.findall(text)) or self._names.search(text) is not None

    def are_all_of(self, text: str) -> bool:
        """True when the text is an id, a name or 'group=name', and nothing else."""
        group, _, value = text.partition("=")
        return text in self.ids or self.has(group, value) or self._names.fullmatch(text) is not None

    def without(self, text: str) -> str:
        """The text with `(erased)` in place of every id and name."""
        anonymous = _CLIP_ID.sub(lambda found: ERASED if found[0] in self.ids else found[0], text)
        return self._names.sub(ERASED, anonymous)

    def has(self, group: str, value: object) -> bool:
        """True for a group's value that is hers alone."""
        return (group.removeprefix(GROUP_PREFIX), value) in self._pairs

    @cached_property
    def _pairs(self) -> frozenset[tuple[str, str]]:
        return frozenset(self.groups)


def _only_on(gone: pd.DataFrame, kept: pd.DataFrame, columns: list[str]) -> Iterator[tuple[str, str]]:
    for column in columns:
        for value in set(gone[column].dropna()) - set(kept[column].dropna()):
            yield column.removeprefix(GROUP_PREFIX), str(value)


def renamed_families(gone: pd.DataFrame, kept: pd.DataFrame) -> dict[str, str]:
    """A family is named by its oldest clip; when that one goes, by the oldest that stays."""
    headless = kept[kept["family"].isin(set(gone["clip_id"]))].sort_values(["batch", "clip_id"])
    return dict(headless.drop_duplicates("family")[["family", "clip_id"]].itertuples(index=False, name=None))


def _variants(text: str) -> set[str]:
    """The text as it is and as JSON, JSON within JSON, HTML and addresses write it."""
    in_json = json.dumps(text)[1:-1]
    return {text, in_json, json.dumps(in_json)[1:-1], html.escape(text), html.escape(text, quote=False), quote(text)}
