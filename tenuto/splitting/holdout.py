"""Which units (speakers, or near-duplicate families) are tested on, watched or released: `holdout.yaml`.

A test set wears out (`tenuto.deciding.wear`). A rotation replaces it with units that no model has heard, releases the
old ones to training, and, the first time, freezes some fresh units as the golden set: never trained on, never decided
on, only watched. The file lists all rotations, oldest first, because the division is replayed from the beginning
(`tenuto.splitting.splits`): a clip moves by a rotation and by nothing else. When recordings were taken out of the
dataset, the file also says where the others were (`tenuto.splitting.pins`). It is kept in git and written by `tenuto
holdout rotate`, `tenuto erase` and `tenuto data remove`; without one, the test set is that of generation '1'.
"""

from __future__ import annotations

import io
import os
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from pydantic import Field
from ruamel.yaml import YAML

from tenuto.errors import SettingsError
from tenuto.settings import SplitSettings
from tenuto.splitting.pins import Pins, Unit
from tenuto.typed_yaml import Section, read_yaml, validated

_HEADER = """\
# Which clips are tested on (test), only watched (golden) or back in training (released), by rotation; and where all
# were (pinned, as hashes) when recordings were last taken out. Written by `tenuto holdout rotate`, `tenuto erase` and
# `tenuto data remove`; keep it in git. Editing it moves clips between training and test.
"""


class Units(Section):
    """Groups by value, and near-duplicate families of clips that are in no group."""

    groups: tuple[str, ...] = ()
    families: tuple[str, ...] = ()

    @property
    def all(self) -> frozenset[Unit]:
        """Both kinds together."""
        groups: set[Unit] = {("group", name) for name in self.groups}
        return frozenset(groups | {("family", name) for name in self.families})

    @classmethod
    def of(cls, units: Collection[Unit]) -> Units:
        """The units in name order."""
        return cls(
            groups=tuple(sorted(name for kind, name in units if kind == "group")),
            families=tuple(sorted(name for kind, name in units if kind == "family")),
        )

    def without(self, names: Collection[str]) -> Units:
        """The units but for those of these names."""
        return Units(
            groups=tuple(name for name in self.groups if name not in names),
            families=tuple(name for name in self.families if name not in names),
        )


class Score(Section):
    """What the champion scored on one set of clips at a rotation."""

    clips: int
    accuracy: tuple[float, float, float] = Field(description="value, and its interval's low and high")
    macro_f1: tuple[float, float, float]


class Rotation(Section):
    """One change of the test set."""

    at: datetime
    reason: str = ""
    batch: int = Field(ge=0, description="the newest batch of recordings then; later ones are placed after it")
    test: Units
    golden: Units = Field(default=Units(), description="units that became golden then")
    released: Units = Field(description="the test set until then, which trains from then on")
    champion: dict[str, Score] = Field(
        default_factory=dict, description="the champion then, on the old and the new test set and on golden"
    )


class Holdout(Section):
    """All rotations of a workspace's test set, and where clips were when others were taken out of the dataset."""

    group: str | None = Field(default=None, description="what the names in `groups` are: 'speaker'")
    hold_out: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="split.hold_out of params.yaml at the first rotation: it must stay so"
    )
    rotations: tuple[Rotation, ...] = ()
    pinned: Pins | None = Field(default=None, description="where units were when recordings were last taken out")

    @property
    def generation(self) -> str:
        """Which test set is in use: '1' before any rotation."""
        return str(len(self.rotations) + 1)

    @property
    def golden(self) -> frozenset[Unit]:
        """The units that are only watched."""
        return frozenset(unit for rotation in self.rotations for unit in rotation.golden.all)

    def without(self, *units: str) -> Holdout:
        """The holdout without these groups (by value) or families (by clip id), as an erasure needs it."""
        kept = {key: tuple(name for name in names if name not in units) for key, names in self.hold_out.items()}
        pinned = self.pinned.without(units) if self.pinned else None
        rotations = tuple(
            rotation.model_copy(
                update={part: getattr(rotation, part).without(units) for part in ("test", "golden", "released")}
            )
            for rotation in self.rotations
        )
        return self.model_copy(
            update={
                "hold_out": {key: names for key, names in kept.items() if names},
                "rotations": rotations,
                "pinned": pinned,
            }
        )

    def require_fit(self, group: str | None, settings: SplitSettings) -> None:
        """Raises SettingsError when params.yaml no longer divides as it did when the test set was rotated."""
        if not self.rotations:
            return
        if group != self.group:
            raise SettingsError(
                f"split.group gives {group or 'no group'!r} and holdout.yaml names test clips by "
                f"{self.group or 'near-duplicate family'!r}; set split.group back, or every clip would move."
            )
        if dict(settings.hold_out) != dict(self.hold_out):
            raise SettingsError(
                f"split.hold_out = {_plain(settings.hold_out)}: it was {_plain(self.hold_out)} when the test set was "
                "first rotated. Set it back: it says where the clips were before, and holdout.yaml says what is "
                "tested on since."
            )


def read(path: Path) -> Holdout:
    """The holdout in `path`; that of generation '1' when there is no file.

    Raises SettingsError naming the key, the value and what is wanted.
    """
    return validated(Holdout, read_yaml(path), path.name) if path.exists() else Holdout()


def write(holdout: Holdout, path: Path) -> None:
    """Write `holdout.yaml`, whole or not at all."""
    text = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = None
    yaml.width = 120
    yaml.dump(holdout.model_dump(mode="json", exclude_defaults=True), text)
    staged = path.with_name(f".{path.name}.part")
    with staged.open("w", encoding="utf-8") as file:
        file.write(_HEADER + text.getvalue())
        file.flush()
        os.fsync(file.fileno())
    staged.replace(path)


def _plain(names: Mapping[str, Sequence[str]]) -> str:
    return str({key: list(values) for key, values in names.items()}) if names else "empty"
