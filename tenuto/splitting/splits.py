"""Which clips train, which choose the best epoch, and which decide: whole groups, stratified by label.

The division is a pure function of the manifest, the settings and `holdout.yaml`; nothing else is stored. It replays the
history batch by batch, as `tenuto data add` made it (`tenuto.splitting.division`), so that no clip moves when more data
is added, nor when some is taken out (`without`); only a rotation of the test set moves clips. What is kept whole, a
unit, is a group such as a speaker, or a family of near-duplicates when there are no groups.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from tenuto import labels
from tenuto.dataset.manifest import group_names
from tenuto.errors import SettingsError, TrainingError
from tenuto.labels import LabelType
from tenuto.records import GROUP_PREFIX
from tenuto.settings import SplitSettings
from tenuto.splitting.division import Division, listing, quoted
from tenuto.splitting.holdout import Holdout
from tenuto.splitting.pins import Pins, Unit, settings_digest

AUTOMATIC_GROUPS = ("speaker", "recording", "site")
"""What `split.group: auto` looks for, in this order."""

_NEAR_DUPLICATE = "near-duplicate of"
_PRIORITY = {"golden": 0, "test": 1, "validation": 2, "train": 3}


def assign(
    manifest: pd.DataFrame, settings: SplitSettings, holdout: Holdout | None = None, kind: LabelType = "one"
) -> pd.DataFrame:
    """The manifest with the columns `split` and `aside_reason`, in the same order.

    `split` is train, validation, test, golden or aside. A clip is aside when keeping it would leak: a near-duplicate of
    it is in another split. `aside_reason` says so, and is empty otherwise. `holdout` lists the test set's rotations.

    Raises SettingsError for an unknown group or an unknown name in `hold_out`, and when these are not what they were at
    the first rotation; TrainingError when there are too few clips or classes to divide.
    """
    return divided(manifest, settings, holdout, kind)[0]


def divided(
    manifest: pd.DataFrame, settings: SplitSettings, holdout: Holdout | None = None, kind: LabelType = "one"
) -> tuple[pd.DataFrame, list[Unit]]:
    """The clips as `assign` gives them, and what each is kept whole with, in row order; raises what `assign` does."""
    if len(labels.classes(manifest["label"], kind)) < 2:
        raise TrainingError(_too_few_classes(manifest))
    clips, kept_whole, _ = _placed(manifest, settings, holdout or Holdout(), kind)
    _require_every_split(clips, kind)
    return clips, kept_whole


def without(
    manifest: pd.DataFrame,
    settings: SplitSettings,
    holdout: Holdout,
    gone: np.ndarray,
    families: Mapping[str, str],
    *,
    forgets: bool,
    kind: LabelType = "one",
) -> Holdout:
    """The holdout under which no clip of `manifest` moves when those that are `gone`, shape (n,), bool, are taken out.

    `families` gives families that are named by one of these clips their new names. A clip that was aside for one of
    them stays aside, since a model that heard the one knows the other. With `forgets` nothing is kept of units that are
    gone altogether; otherwise they find their split again when they come back. When a split is left without a clip,
    nothing is pinned: something has to move. Raises what `assign` does for settings that do not fit the clips.
    """
    group = group_name(manifest, settings)
    # at an erasure params.yaml has already lost her name, which holdout.yaml still has
    then = settings.model_copy(update={"hold_out": holdout.hold_out}) if holdout.rotations else settings
    clips, units, division = _placed(manifest, then, holdout, kind)
    there = then.model_copy(update={"hold_out": _still_there(then, clips[~gone])})
    after = holdout.model_copy(update={"hold_out": there.hold_out} if holdout.rotations else {})
    if set(clips["split"]) - set(clips.loc[~gone, "split"]) - {"golden", "aside"}:
        return after.model_copy(update={"pinned": None})
    homes = division.homes
    kept = {unit for unit, is_gone in zip(units, gone, strict=True) if not is_gone}
    renamed = {_renamed(unit, families): homes[unit] for unit in kept if unit in homes}
    left = set(clips.loc[~gone, GROUP_PREFIX + group].dropna()) if group else set()
    fits = holdout.pinned is not None and holdout.pinned.settings == settings_digest(then, group)
    torn = clips["family"].isin(clips.loc[gone, "family"]) & clips["aside_reason"].str.startswith(_NEAR_DUPLICATE)
    pins = Pins.of(
        renamed if forgets else homes | renamed,
        division.divided & left if forgets else division.divided,
        clips.loc[torn & ~gone, "clip_id"],
        settings=settings_digest(there, group),
        before=holdout.pinned if fits else None,
    )
    return after.model_copy(update={"pinned": pins})


def group_name(manifest: pd.DataFrame, settings: SplitSettings) -> str | None:
    """The group that is kept whole, such as 'speaker', or None when clips are divided by near-duplicate family.

    Raises SettingsError when `split.group` names a group that the manifest does not have.
    """
    known = group_names(manifest)
    if settings.group is None:
        return None
    if settings.group == "auto":
        return next((name for name in AUTOMATIC_GROUPS if name in known), None)
    if settings.group not in known:
        raise SettingsError(
            f"split.group = {settings.group!r}: the clips have no such group; "
            f"known groups: {quoted(known)}. Use one of them, 'auto' or null."
        )
    return settings.group


def _placed(
    manifest: pd.DataFrame, settings: SplitSettings, holdout: Holdout, kind: LabelType
) -> tuple[pd.DataFrame, list[Unit], Division]:
    """The clips with the columns `split` and `aside_reason`, their units, and the division; there may be too few."""
    clips = manifest.copy()
    group = group_name(clips, settings)
    holdout.require_fit(group, settings)
    held_out = _held_out(clips, settings)
    parted = _parted(clips, group, held_out)
    division = Division(clips, group, held_out | parted, settings, holdout, kind)
    clips["split"], kept_whole = division.placed()
    clips["aside_reason"] = ""
    if holdout.rotations:
        held_out[:] = parted[:] = False
    clips.loc[parted, "split"] = "aside"
    clips.loc[parted, "aside_reason"] = f"the same {group} is heard in the test set that is held out by name"
    stays_aside = clips["clip_id"].isin(division.aside) & ~held_out
    clips.loc[stays_aside, "split"] = "aside"
    clips.loc[stays_aside, "aside_reason"] = f"{_NEAR_DUPLICATE} a clip of another split that was taken out"
    _set_aside_near_duplicates(clips, held_out)
    return clips, kept_whole, division


def _renamed(unit: Unit, families: Mapping[str, str]) -> Unit:
    kind, name = unit
    return (kind, families.get(name, name)) if kind == "family" else unit


def _still_there(settings: SplitSettings, clips: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """The names of `hold_out` that clips still have; params.yaml has to lose the others."""
    known = {
        name: tuple(value for value in values if clips[GROUP_PREFIX + name].eq(value).any())
        for name, values in settings.hold_out.items()
    }
    return {name: values for name, values in known.items() if values}


def _held_out(clips: pd.DataFrame, settings: SplitSettings) -> np.ndarray:
    """Which clips belong to a group that is held out by name; shape (n,), bool."""
    held_out = np.zeros(len(clips), dtype=bool)
    known = group_names(clips)
    for name, values in settings.hold_out.items():
        if name not in known:
            raise SettingsError(f"split.hold_out.{name}: the clips have no such group; known groups: {quoted(known)}.")
        column = clips[GROUP_PREFIX + name]
        for value in values:
            if value not in set(column.dropna()):
                raise SettingsError(
                    f"split.hold_out.{name} = {value!r}: no clip has this {name}; "
                    f"known: {quoted(column.dropna().unique())}."
                )
        held_out |= column.isin(values).to_numpy(dtype=bool)
    return held_out


def _parted(clips: pd.DataFrame, group: str | None, held_out: np.ndarray) -> np.ndarray:
    """The clips that are not held out though others of their group are: shape (n,), bool.

    It happens when the test set is named by one group (accent) and another is kept whole (speaker).
    """
    if group is None:
        return np.zeros(len(clips), dtype=bool)
    column = clips[GROUP_PREFIX + group]
    return ~held_out & column.isin(column[held_out].dropna()).to_numpy(dtype=bool)


def _set_aside_near_duplicates(clips: pd.DataFrame, held_out: np.ndarray) -> None:
    """Leaves every family in one split only.

    The test set by name wins, then the clips that were there first, then golden before test, validation and training.
    """
    used = clips.loc[clips["split"] != "aside"]
    splits_of_family = used.groupby("family")["split"].transform("nunique")
    torn = used.loc[splits_of_family > 1].assign(
        held_out=pd.Series(held_out, index=clips.index), rank=lambda rows: rows["split"].map(_PRIORITY)
    )
    for _, family in torn.groupby("family"):
        keeper = family.sort_values(["held_out", "batch", "rank"], ascending=[False, True, True]).iloc[0]
        leaking = family.index[family["split"] != keeper["split"]]
        clips.loc[leaking, "split"] = "aside"
        clips.loc[leaking, "aside_reason"] = f"{_NEAR_DUPLICATE} {keeper['clip_id']}, a {keeper['split']} clip"


def _require_every_split(clips: pd.DataFrame, kind: LabelType) -> None:
    sizes = clips["split"].value_counts()
    missing = [name for name in ("train", "validation", "test") if not sizes.get(name)]
    if missing:
        raise TrainingError(
            f"{len(clips)} clips cannot be divided: none left for {listing(missing)}. "
            "Each split needs clips of its own; add recordings, or hold out fewer groups by name."
        )
    if len(labels.classes(clips.loc[clips["split"] == "train", "label"], kind)) < 2:
        raise TrainingError(_too_few_classes(clips[clips["split"] == "train"], where=" for training"))


def _too_few_classes(clips: pd.DataFrame, where: str = "") -> str:
    if clips.empty:
        return f"there are no clips{where}: add recordings of at least 2 classes."
    whose = f"the only clip{where} has" if len(clips) == 1 else f"all {len(clips):,} clips{where} have"
    return (
        f"{whose} the class {str(clips['label'].iloc[0])!r}; a classifier needs at least 2 classes: "
        f"add recordings of another{', or hold out less by name' if where else ''}."
    )
