"""The replay of a workspace's history: which split every unit went to as recordings arrived and test sets rotated.

Separate from `tenuto.splitting.splits`, which says what the division is asked for and what has to be set aside
afterwards. What a batch brings is placed by looking at that batch and the ones before it only. Within a batch, new
units come in the order of a hash of their name, and each goes to the split that lacks most of its labels (after the
iterative stratification of Sechidis, Tsoumakas and Vlahavas, 2011). A rotation moves the units that it names, after the
batch that it names. Where recordings were taken out of the history, the units that `tenuto.splitting.pins` names are
where they were then.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
import pandas as pd

from tenuto import labels
from tenuto.labels import LabelType
from tenuto.records import GROUP_PREFIX
from tenuto.settings import SplitSettings
from tenuto.splitting.holdout import Holdout, Rotation
from tenuto.splitting.pins import Unit, settings_digest

logger = logging.getLogger(__name__)


class Division:
    """The replay: which split every unit went to, and how many clips of each label every split holds."""

    def __init__(
        self,
        clips: pd.DataFrame,
        group: str | None,
        settled: np.ndarray,
        settings: SplitSettings,
        holdout: Holdout,
        kind: LabelType = "one",
    ) -> None:
        self._batches = clips["batch"].to_numpy()
        self._settled = settled
        self._rotations = holdout.rotations
        self._seed = settings.seed
        self._splits, self._shares = _targets(settings)
        self._families = clips["family"].astype(str).to_numpy(dtype=object)
        self._groups = _group_values(clips, group)
        self._group = group
        has = labels.matrix(clips["label"].to_numpy(), labels.classes(clips["label"], kind), kind)
        # (clips, labels and the clip itself), so that clips without a label count, too
        self._held = np.column_stack([has, np.ones(len(clips))]).astype(float)
        self._counts = np.zeros((len(self._splits), self._held.shape[1]))
        self._home: dict[Unit, str] = {}
        self._divided: set[str] = set()
        self.aside: frozenset[str] = frozenset()
        """Ids of clips that stay aside though what they are near-duplicates of is gone."""
        pins = holdout.pinned
        if pins and pins.settings == settings_digest(settings, group):
            groups = set(self._groups) - {None}
            units: set[Unit] = {("family", name) for name in self._families} | {("group", name) for name in groups}
            self._home = pins.homes(units)
            self._divided = pins.divided_of(groups)
            self.aside = frozenset(pins.aside_of(clips["clip_id"]))
        elif pins:
            logger.warning(
                "The split settings are not those of the day when recordings were taken out of the dataset "
                "(holdout.yaml, pinned): all clips are divided anew."
            )

    def placed(self) -> tuple[list[str], list[Unit]]:
        """Each clip's split before anything is set aside ('test' for the settled ones), and its unit; in row order."""
        rotations = list(self._rotations)
        is_rotated = False
        for batch in np.unique(self._batches):
            while rotations and rotations[0].batch < batch:
                self._rotate(rotations.pop(0))
                is_rotated = True
            # what params.yaml names is the test set until the first rotation, which names another
            self._place_batch(np.flatnonzero((self._batches == batch) & (is_rotated | ~self._settled)))
        for rotation in rotations:
            self._rotate(rotation)
        units = [self._unit(row) for row in range(len(self._batches))]
        by_name = self._settled & (not self._rotations)
        return [
            "test" if named else self._home.get(unit, "test") for named, unit in zip(by_name, units, strict=True)
        ], units

    @property
    def homes(self) -> dict[Unit, str]:
        """The split of every unit that was placed; those of a test set by name were not."""
        return dict(self._home)

    @property
    def divided(self) -> frozenset[str]:
        """Groups that were too few to be kept whole."""
        return frozenset(self._divided)

    def _rotate(self, rotation: Rotation) -> None:
        """Moves the units that the rotation names, and counts anew what every split holds."""
        for split, units in (("train", rotation.released), ("test", rotation.test), ("golden", rotation.golden)):
            self._home |= dict.fromkeys(units.all, split)
        rows = np.flatnonzero(self._batches <= rotation.batch)
        self._counts[:] = 0
        for unit, histogram in self._histograms([self._unit(row) for row in rows], self._held[rows]).items():
            self._count(unit, histogram)

    def _place_batch(self, rows: np.ndarray) -> None:
        self._divide_groups_when_too_few(rows)
        units = [self._unit(row) for row in rows]
        histograms = self._histograms(units, self._held[rows])
        for unit in histograms.keys() & self._home.keys():
            self._count(unit, histograms[unit])
        new = sorted(histograms.keys() - self._home.keys(), key=self._order)
        totals = self._counts.sum(axis=0) + sum(histograms[unit] for unit in new)
        for done, unit in enumerate(new):
            self._home[unit] = self._neediest(histograms[unit], totals, units_left=len(new) - done)
            self._count(unit, histograms[unit])

    def _count(self, unit: Unit, histogram: np.ndarray) -> None:
        """Adds a unit's clips to its split's; golden clips, and a test set by name, take no part in the shares."""
        home = self._home.get(unit)
        if home in self._splits:
            self._counts[self._splits.index(home)] += histogram

    def _neediest(self, histogram: np.ndarray, totals: np.ndarray, units_left: int) -> str:
        """The split that lacks most of this unit's labels and of clips in all; empty ones when units run out."""
        share = np.divide(histogram, totals, out=np.zeros_like(histogram), where=totals > 0)
        held = np.divide(self._counts, totals, out=np.zeros_like(self._counts), where=totals > 0)
        lacking = self._shares[:, None] - held
        in_all, of_label = lacking[:, -1], share[:-1]
        deficit = in_all + (lacking[:, :-1] @ of_label / of_label.sum() if of_label.any() else 0)
        empty = self._counts[:, -1] == 0
        if 0 < empty.sum() >= units_left:
            deficit[~empty] = -np.inf
        return self._splits[int(np.argmax(deficit))]

    def _divide_groups_when_too_few(self, rows: np.ndarray) -> None:
        """Gives up on whole groups for this batch's new ones when they cannot fill the splits that are empty."""
        groups = set(self._groups[rows])
        new = {group for group in groups if ("group", group) not in self._home} - self._divided - {None}
        empty = int((self._counts[:, -1] == 0).sum())
        if new and None not in groups and len(new) < empty:
            self._divided |= new
            logger.warning(
                "Only %d %s values (%s) for %d empty splits: their clips are divided one by one, so the same %s is "
                "heard in training and test, and the scores flatter the model.",
                len(new), self._group, quoted(new), empty, self._group,
            )  # fmt: skip

    def _unit(self, row: int | np.integer) -> Unit:
        group = self._groups[row]
        if group is None or group in self._divided:
            return ("family", self._families[row])
        return ("group", group)

    def _histograms(self, units: Sequence[Unit], held: np.ndarray) -> dict[Unit, np.ndarray]:
        histograms: dict[Unit, np.ndarray] = {}
        for unit, of_clip in zip(units, held, strict=True):
            histograms.setdefault(unit, np.zeros(len(of_clip)))[:] += of_clip
        return histograms

    def _order(self, unit: Unit) -> bytes:
        return hashlib.sha256("\0".join((str(self._seed), *unit)).encode()).digest()


def _targets(settings: SplitSettings) -> tuple[tuple[str, ...], np.ndarray]:
    """The splits that units may go to and the share of the clips that each should hold."""
    if settings.hold_out:
        return ("train", "validation"), np.array([1 - settings.validation, settings.validation])
    train = 1 - settings.validation - settings.test
    return ("train", "validation", "test"), np.array([train, settings.validation, settings.test])


def _group_values(clips: pd.DataFrame, group: str | None) -> np.ndarray:
    """The group of every clip as str, None where there is none; shape (n,)."""
    if group is None:
        return np.full(len(clips), None, dtype=object)
    column = clips[GROUP_PREFIX + group]
    return np.array([str(value) if known else None for value, known in zip(column, column.notna(), strict=True)])


def quoted(names: Iterable[Hashable]) -> str:
    return listing(repr(str(name)) for name in names)


def listing(names: Iterable[Hashable]) -> str:
    listed = sorted(str(name) for name in names)
    return ", ".join(listed[:20]) + (f" and {len(listed) - 20} more" if len(listed) > 20 else "") or "none"
