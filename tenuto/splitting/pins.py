"""Where every unit was when recordings were last taken out of the dataset: a part of `holdout.yaml`.

The division replays the history of the dataset (`tenuto.splitting.division`), and a history without some recordings
would end elsewhere. So when recordings go, it is written down where the others are. Units are known by salted hashes of
48 bits: git holds the file, which must not list everybody, and 100,000 recordings without a group make 1.3 MB of it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Iterable, Mapping
from typing import Literal, Self

from pydantic import Field

from tenuto.settings import SplitSettings
from tenuto.typed_yaml import Section, digest

Unit = tuple[Literal["group", "family"], str]
"""('group', 'ann') or ('family', clip_id): what is kept whole."""

_SPLITS = ("train", "validation", "test", "golden")
_HEX_DIGITS = 12


class Pins(Section):
    """Hashes of units by split, separated by spaces; they count for the split settings that they were made under."""

    settings: str = Field(description="digest of these settings; under others all clips are divided anew")
    salt: str
    train: str = ""
    validation: str = ""
    test: str = ""
    golden: str = ""
    divided: str = Field(default="", description="groups that were too few to be kept whole")
    aside: str = Field(default="", description="clips whose near-duplicate in another split is gone; they stay aside")

    @classmethod
    def of(
        cls,
        homes: Mapping[Unit, str],
        divided: Collection[str],
        aside: Collection[str],
        *,
        settings: str,
        before: Pins | None,
    ) -> Self:
        """The pins of these units, groups and clips, and those of `before`, some of whom may not be here just now."""
        before = before or cls(settings=settings, salt=secrets.token_hex(16))
        salt = before.salt
        tokens = before._tokens | {_token(salt, *unit): split for unit, split in homes.items()}
        by_split = {split: _text(token for token, at in tokens.items() if at == split) for split in _SPLITS}
        return cls(
            settings=settings,
            salt=salt,
            divided=_text({*before.divided.split(), *(_token(salt, "group", name) for name in divided)}),
            aside=_text({*before.aside.split(), *(_token(salt, "clip", clip_id) for clip_id in aside)}),
            **by_split,
        )

    def homes(self, units: Iterable[Unit]) -> dict[Unit, str]:
        """The split of each of these units that is pinned."""
        tokens = self._tokens
        found = ((unit, tokens.get(_token(self.salt, *unit))) for unit in units)
        return {unit: split for unit, split in found if split}

    def divided_of(self, groups: Iterable[str]) -> set[str]:
        """Those of the groups whose clips are divided one by one."""
        listed = set(self.divided.split())
        return {name for name in groups if _token(self.salt, "group", name) in listed} if listed else set()

    def aside_of(self, clips: Iterable[str]) -> set[str]:
        """Those of the clip ids that stay aside."""
        listed = set(self.aside.split())
        return {clip_id for clip_id in clips if _token(self.salt, "clip", clip_id) in listed} if listed else set()

    def without(self, names: Collection[str]) -> Pins:
        """The pins but for groups, families and clips of these names."""
        gone = {_token(self.salt, kind, name) for name in names for kind in ("group", "family", "clip")}
        parts = (*_SPLITS, "divided", "aside")
        return self.model_copy(
            update={part: _text(token for token in getattr(self, part).split() if token not in gone) for part in parts}
        )

    @property
    def _tokens(self) -> dict[str, str]:
        return {token: split for split in _SPLITS for token in getattr(self, split).split()}


def settings_digest(settings: SplitSettings, group: str | None) -> str:
    """Of all that decides where clips go; `group` is the one that is kept whole, whatever 'auto' stood for."""
    names = {name: sorted(values) for name, values in settings.hold_out.items()}
    return digest({**settings.model_dump(mode="json"), "group": group, "hold_out": names})


def _token(salt: str, kind: str, name: str) -> str:
    return hashlib.sha256("\0".join((salt, kind, name)).encode()).hexdigest()[:_HEX_DIGITS]


def _text(tokens: Iterable[str]) -> str:
    return " ".join(sorted(tokens))
