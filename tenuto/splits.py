"""Which clips train, which choose the best epoch, and which decide: whole groups, stratified by label.

The division is a pure function of the manifest and the settings; nothing is stored. It replays the history batch by
batch, as `tenuto data add` made it: what a batch brings is placed by looking at that batch and the ones before it only,
so that no clip moves when more data is added. Within a batch, new units (a group such as a speaker, or a family of
near-duplicates when there are no groups) come in the order of a hash of their name, and each goes to the split that
lacks most of its labels (after the iterative stratification of Sechidis, Tsoumakas and Vlahavas, 2011).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
import pandas as pd

from tenuto.errors import SettingsError, TrainingError
from tenuto.manifest import group_names
from tenuto.records import GROUP_PREFIX
from tenuto.settings import SplitSettings

logger = logging.getLogger(__name__)

AUTOMATIC_GROUPS = ("speaker", "recording", "site")
"""What `split.group: auto` looks for, in this order."""

Unit = tuple[str, str]
"""('group', 'ann') or ('family', clip_id): what is kept whole."""

_PRIORITY = {"test": 0, "validation": 1, "train": 2}


def assign(manifest: pd.DataFrame, settings: SplitSettings) -> pd.DataFrame:
    """The manifest with the columns `split` and `aside_reason`, in the same order.

    `split` is train, validation, test or aside. A clip is aside when keeping it would leak: a near-duplicate of it
    is in another split. `aside_reason` says so, and is empty otherwise.

    Raises SettingsError for an unknown group or an unknown name in `hold_out`, TrainingError when there are too few
    clips or classes to divide.
    """
    if manifest["label"].nunique() < 2:
        raise TrainingError(_too_few_classes(manifest))
    clips = manifest.copy()
    group = group_name(clips, settings)
    held_out = _held_out(clips, settings)
    parted = _parted(clips, group, held_out)
    clips["split"] = _Division(clips, group, held_out | parted, settings).placed()
    clips["aside_reason"] = ""
    clips.loc[parted, "split"] = "aside"
    clips.loc[parted, "aside_reason"] = f"the same {group} is heard in the test set that is held out by name"
    _set_aside_near_duplicates(clips, held_out)
    _require_every_split(clips)
    return clips


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
            f"known groups: {_quoted(known)}. Use one of them, 'auto' or null."
        )
    return settings.group


class _Division:
    """The replay: which split every unit went to, and how many clips of each label every split holds."""

    def __init__(self, clips: pd.DataFrame, group: str | None, settled: np.ndarray, settings: SplitSettings) -> None:
        self._clips = clips
        self._settled = settled
        self._seed = settings.seed
        self._splits, self._shares = _targets(settings)
        self._families = clips["family"].astype(str).to_numpy(dtype=object)
        self._groups = _group_values(clips, group)
        self._group = group
        self._labels, label_names = pd.factorize(clips["label"])
        self._counts = np.zeros((len(self._splits), len(label_names)))  # (splits, labels)
        self._home: dict[Unit, int] = {}
        self._divided: set[str] = set()

    def placed(self) -> np.ndarray:
        """The split of every clip before anything is set aside, 'test' for the settled ones; shape (n,)."""
        split = np.full(len(self._clips), "test", dtype=object)
        batches = self._clips["batch"].to_numpy()
        for batch in np.unique(batches):
            rows = np.flatnonzero((batches == batch) & ~self._settled)
            split[rows] = self._place_batch(rows)
        return split

    def _place_batch(self, rows: np.ndarray) -> list[str]:
        self._divide_groups_when_too_few(rows)
        units = [self._unit(row) for row in rows]
        histograms = self._histograms(units, self._labels[rows])
        for unit in histograms.keys() & self._home.keys():
            self._counts[self._home[unit]] += histograms[unit]
        new = sorted(histograms.keys() - self._home.keys(), key=self._order)
        totals = self._counts.sum(axis=0) + sum(histograms[unit] for unit in new)
        for done, unit in enumerate(new):
            home = self._neediest(histograms[unit], totals, units_left=len(new) - done)
            self._home[unit] = home
            self._counts[home] += histograms[unit]
        return [self._splits[self._home[unit]] for unit in units]

    def _neediest(self, histogram: np.ndarray, totals: np.ndarray, units_left: int) -> int:
        """The split that lacks most of this unit's labels and of clips in all; empty ones when units run out."""
        share_of_label = np.divide(histogram, totals, out=np.zeros_like(histogram), where=totals > 0)
        held = np.divide(self._counts, totals, out=np.zeros_like(self._counts), where=totals > 0)
        of_labels = (self._shares[:, None] - held) @ share_of_label / share_of_label.sum()
        in_all = self._shares - self._counts.sum(axis=1) / totals.sum()
        deficit = of_labels + in_all
        empty = self._counts.sum(axis=1) == 0
        if 0 < empty.sum() >= units_left:
            deficit[~empty] = -np.inf
        return int(np.argmax(deficit))

    def _divide_groups_when_too_few(self, rows: np.ndarray) -> None:
        """Gives up on whole groups for this batch's new ones when they cannot fill the splits that are empty."""
        groups = set(self._groups[rows])
        new = {group for group in groups if ("group", group) not in self._home} - self._divided - {None}
        empty = int((self._counts.sum(axis=1) == 0).sum())
        if new and None not in groups and len(new) < empty:
            self._divided |= new
            logger.warning(
                "Only %d %s values (%s) for %d empty splits: their clips are divided one by one, so the same %s is "
                "heard in training and test, and the scores flatter the model.",
                len(new), self._group, _quoted(new), empty, self._group,
            )  # fmt: skip

    def _unit(self, row: int) -> Unit:
        group = self._groups[row]
        if group is None or group in self._divided:
            return ("family", self._families[row])
        return ("group", group)

    def _histograms(self, units: Sequence[Unit], labels: np.ndarray) -> dict[Unit, np.ndarray]:
        histograms: dict[Unit, np.ndarray] = {}
        for unit, label in zip(units, labels, strict=True):
            histograms.setdefault(unit, np.zeros(self._counts.shape[1]))[label] += 1
        return histograms

    def _order(self, unit: Unit) -> bytes:
        return hashlib.sha256("\0".join((str(self._seed), *unit)).encode()).digest()


def _targets(settings: SplitSettings) -> tuple[tuple[str, ...], np.ndarray]:
    """The splits that units may go to and the share of the clips that each should hold."""
    if settings.hold_out:
        return ("train", "validation"), np.array([1 - settings.validation, settings.validation])
    train = 1 - settings.validation - settings.test
    return ("train", "validation", "test"), np.array([train, settings.validation, settings.test])


def _held_out(clips: pd.DataFrame, settings: SplitSettings) -> np.ndarray:
    """Which clips belong to a group that is held out by name; shape (n,), bool."""
    held_out = np.zeros(len(clips), dtype=bool)
    known = group_names(clips)
    for name, values in settings.hold_out.items():
        if name not in known:
            raise SettingsError(f"split.hold_out.{name}: the clips have no such group; known groups: {_quoted(known)}.")
        column = clips[GROUP_PREFIX + name]
        for value in values:
            if value not in set(column.dropna()):
                raise SettingsError(
                    f"split.hold_out.{name} = {value!r}: no clip has this {name}; "
                    f"known: {_quoted(column.dropna().unique())}."
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

    The test set by name wins, then the clips that were there first, then test before validation before training.
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
        clips.loc[leaking, "aside_reason"] = f"near-duplicate of {keeper['clip_id']}, a {keeper['split']} clip"


def _require_every_split(clips: pd.DataFrame) -> None:
    sizes = clips["split"].value_counts()
    missing = [name for name in ("train", "validation", "test") if not sizes.get(name)]
    if missing:
        raise TrainingError(
            f"{len(clips)} clips cannot be divided: none left for {_listing(missing)}. "
            "Each split needs clips of its own; add recordings, or hold out fewer groups by name."
        )
    if clips.loc[clips["split"] == "train", "label"].nunique() < 2:
        raise TrainingError(_too_few_classes(clips[clips["split"] == "train"], where=" for training"))


def _too_few_classes(clips: pd.DataFrame, where: str = "") -> str:
    if clips.empty:
        return f"there are no clips{where}: add recordings of at least 2 classes."
    whose = f"the only clip{where} has" if len(clips) == 1 else f"all {len(clips):,} clips{where} have"
    return (
        f"{whose} the class {str(clips['label'].iloc[0])!r}; a classifier needs at least 2 classes: "
        f"add recordings of another{', or hold out less by name' if where else ''}."
    )


def _group_values(clips: pd.DataFrame, group: str | None) -> np.ndarray:
    """The group of every clip as str, None where there is none; shape (n,)."""
    if group is None:
        return np.full(len(clips), None, dtype=object)
    column = clips[GROUP_PREFIX + group]
    return np.array([str(value) if known else None for value, known in zip(column, column.notna(), strict=True)])


def _quoted(names: Iterable[Hashable]) -> str:
    return _listing(repr(str(name)) for name in names)


def _listing(names: Iterable[Hashable]) -> str:
    listed = sorted(str(name) for name in names)
    return ", ".join(listed[:20]) + (f" and {len(listed) - 20} more" if len(listed) > 20 else "") or "none"
