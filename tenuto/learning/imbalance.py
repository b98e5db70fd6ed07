"""What `imbalance` in params.yaml means for a table of training clips: a loss, how often each clip is drawn, groups.

Separate from `tenuto.learning.losses`, which knows nothing of settings and tables, and from `tenuto.learning.augment`,
whose copies fill up what is rare before any of this counts it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from tenuto import labels
from tenuto.errors import SettingsError
from tenuto.learning import losses
from tenuto.records import GROUP_PREFIX
from tenuto.settings import FinetuneSettings, ImbalanceSettings

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Targets = npt.NDArray[Any]

_UNKNOWN = "(unknown)"


@dataclass(frozen=True)
class Balance:
    """How training clips count: the loss of each, how often it is drawn, and its group.

    `draws` (clips,) averages to 1, or is None when clips are drawn alike; `groups` (clips,) are numbers into
    `group_names`, or None when no group is put first.
    """

    loss: losses.Loss
    draws: FloatArray | None = None
    groups: IntArray | None = None
    group_names: tuple[str, ...] = ()

    @property
    def is_plain(self) -> bool:
        """True when every clip counts by its own cross-entropy and no more."""
        is_plain_loss = type(self.loss) in (losses.CrossEntropy, losses.BinaryCrossEntropy)
        return self.draws is None and self.groups is None and is_plain_loss


PLAIN = Balance(losses.CrossEntropy())
"""Every clip once, by its own cross-entropy."""


def balance(
    rows: pd.DataFrame, targets: Targets, count: int, settings: ImbalanceSettings, finetune: FinetuneSettings
) -> Balance:
    """The balance of the training rows, after copies were added.

    `targets` are class numbers (clips,) in [0, count), or with several labels a clip 0 and 1 (clips, count). Raises
    SettingsError for a group that the clips do not have.
    """
    if targets.ndim == 2:
        rows = _by_rarest_label(rows)
        loss = _binary_loss(torch.from_numpy(targets), settings, finetune.label_smoothing)
    else:
        counts = torch.from_numpy(np.bincount(targets, minlength=count))
        loss = _loss(counts, settings, finetune.label_smoothing)
    groups, names = _groups(rows, settings.group_dro)
    return Balance(loss, _draws(rows, settings.sample_by), groups, names)


def weights(rows: pd.DataFrame, targets: Targets, count: int, settings: ImbalanceSettings) -> FloatArray | None:
    """How much each training row counts against the mean: how often it is drawn times its class's weight in the loss.

    (clips,), all 1 when neither `sample_by` nor `class_weights` is set; None with `group_dro`, which changes them at
    every step. Fine-tuning draws among clips of about equal length, so it comes as near as the lengths let it; what
    a loss makes of a clip's own score (focal, margins) is no weight. With several labels a clip its class's weight is
    the mean over the labels. `targets` are those of `balance`, and so is what is raised.
    """
    if settings.group_dro is not None:
        return None
    draws = _draws(_by_rarest_label(rows) if targets.ndim == 2 else rows, settings.sample_by)
    found = np.ones(len(rows)) if draws is None else draws
    if targets.ndim == 2:
        positives = torch.from_numpy(targets.sum(axis=0))
        by_label = losses.positive_weights(positives, len(rows), settings.class_weights)
        return found if by_label is None else found * (1 + targets * (by_label.double().numpy() - 1)).mean(axis=1)
    by_class = losses.class_weights(torch.from_numpy(np.bincount(targets, minlength=count)), settings.class_weights)
    return found if by_class is None else found * by_class.double().numpy()[targets]


def _loss(counts: torch.Tensor, settings: ImbalanceSettings, smoothing: float) -> losses.Loss:
    weights = losses.class_weights(counts, settings.class_weights)
    if settings.loss == "focal":
        return losses.Focal(weights, gamma=settings.focal_gamma)
    if settings.loss == "ldam":
        return losses.LDAM(counts, weights, max_margin=settings.max_margin)
    if settings.loss == "logit-adjustment":
        return losses.LogitAdjustment(counts, weights, tau=settings.logit_tau, label_smoothing=smoothing)
    return losses.CrossEntropy(weights, label_smoothing=smoothing)


def _binary_loss(targets: torch.Tensor, settings: ImbalanceSettings, smoothing: float) -> losses.Loss:
    weights = losses.positive_weights(targets.sum(dim=0), len(targets), settings.class_weights)
    if settings.loss == "focal":
        return losses.BinaryFocal(weights, gamma=settings.focal_gamma)
    if settings.loss == "asymmetric":
        return losses.Asymmetric(weights)
    return losses.BinaryCrossEntropy(weights, label_smoothing=smoothing)


def _by_rarest_label(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the rarest of its labels as the one of each clip; '' where it has none."""
    counts = Counter(part for label in rows["label"] for part in labels.parts(label))

    def rarest(label: str) -> str:
        return min(labels.parts(label), key=lambda part: (counts[part], part), default="")

    return rows.assign(label=rows["label"].map(rarest))


def _draws(rows: pd.DataFrame, sample_by: tuple[str, ...]) -> FloatArray | None:
    """How often each row is drawn when every combination of values that occurs is drawn equally often."""
    if not sample_by:
        return None
    columns = [_values(rows, name, "imbalance.sample_by") for name in sample_by]
    cells = pd.MultiIndex.from_arrays(columns) if len(columns) > 1 else pd.Index(columns[0])
    codes, _ = pd.factorize(cells)
    share = 1 / np.bincount(codes)[codes]
    return np.asarray(share * len(rows) / share.sum(), dtype=np.float64)


def _groups(rows: pd.DataFrame, group: str | None) -> tuple[IntArray | None, tuple[str, ...]]:
    if group is None:
        return None, ()
    codes, names = pd.factorize(_values(rows, group, "imbalance.group_dro"), sort=True)
    return codes.astype(np.int64), tuple(map(str, names))


def _values(rows: pd.DataFrame, name: str, key: str) -> npt.NDArray[np.object_]:
    column = name if name == "label" else GROUP_PREFIX + name
    if column not in rows:
        known = sorted(c.removeprefix(GROUP_PREFIX) for c in rows.columns if c.startswith(GROUP_PREFIX))
        raise SettingsError(
            f"params.yaml: {key} names {name!r}, which the clips do not have; known: {', '.join(['label', *known])}."
        )
    return np.asarray(rows[column].astype(object).where(rows[column].notna(), _UNKNOWN), dtype=object)
