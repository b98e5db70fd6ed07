"""What a training step is given: clips of about equal length, in a new order and newly augmented in each epoch.

Separate from `tenuto.learning.training.trainer`, which steps: here is what is drawn, all of it from the seed and the
number of the epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tenuto import labels
from tenuto.labels import LabelType
from tenuto.learning import augment, embedding
from tenuto.learning.framing import clips_per_batch
from tenuto.learning.imbalance import Balance
from tenuto.learning.preprocessing import MAX_TRAINING_WINDOWS, Features, Preprocessing
from tenuto.settings import AugmentSettings

_MASKED_SHARE = 0.12
_MAX_KEPT_BYTES = 256 * 2**20

Prepared = tuple[list[int], Features]
"""Positions of clips and the model's input for them, as `Preprocessing.batches` gives them."""


@dataclass(frozen=True)
class Material:
    """What a model learns from: rows of clips (clip_id, path, label, duration_seconds) and where their audio lies."""

    data: Path
    labels: tuple[str, ...]
    train: pd.DataFrame
    validation: pd.DataFrame
    preprocessing: Preprocessing
    balance: Balance
    kind: LabelType = "one"

    def targets(self, rows: pd.DataFrame) -> npt.NDArray[Any]:
        """What the model should say of each row, as `tenuto.labels.targets` puts it."""
        return labels.targets(rows["label"].to_numpy(), self.labels, self.kind)

    def validation_batches(self, batch_size: int) -> Iterable[Prepared]:
        """The validation clips as a model hears them; they are prepared once when they take up to 256 MB of memory."""
        rows, preprocessing = self.validation, self.preprocessing
        return self._kept.setdefault(
            batch_size,
            _Kept(lambda: preprocessing.batches(embedding.waves(rows, self.data, preprocessing), batch_size)),
        )

    @cached_property
    def _kept(self) -> dict[int, _Kept]:
        return {}


class _Kept:
    """Batches that are prepared when they are first iterated over, and kept when they are small."""

    def __init__(self, prepare: Callable[[], Iterator[Prepared]]) -> None:
        self._prepare = prepare
        self._batches: list[Prepared] | None = None

    def __iter__(self) -> Iterator[Prepared]:
        if self._batches is not None:
            yield from self._batches
            return
        kept: list[Prepared] = []
        size = 0
        for batch in self._prepare():
            size += sum(tensor.nbytes for tensor in batch[1].values())
            if size <= _MAX_KEPT_BYTES:
                kept.append(batch)
            else:
                kept.clear()
            yield batch
        if size <= _MAX_KEPT_BYTES:
            self._batches = kept


class TrainingBatches(Dataset[dict[str, Any]]):
    """The batches of one epoch: clips of about equal length, in a new order and newly augmented in each epoch.

    Which batches an epoch has depends on the seed and its number alone, so a resumed training sees the same ones.
    """

    def __init__(self, material: Material, augmentation: AugmentSettings, batch_size: int, seed: int) -> None:
        self._material = material
        self._augmentation = augmentation
        self._batch_size = batch_size
        self._seed = seed
        rate = material.preprocessing.sample_rate_hz
        samples = (material.train["duration_seconds"].to_numpy() * rate).round().astype(int)
        self.has_windows = material.preprocessing.framing.has_windows
        self._lengths = np.array([material.preprocessing.framing.bucket(int(n)) for n in samples])
        self._targets = torch.tensor(material.targets(material.train))
        groups = material.balance.groups
        self._groups = torch.zeros(len(self._lengths), dtype=torch.long) if groups is None else torch.from_numpy(groups)
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Draw the order and the augmentation of an epoch."""
        rng = np.random.default_rng([self._seed, epoch])
        drawn = augment.draw(len(self._lengths), self._augmentation, rng)
        chosen = self._chosen(rng)
        self._rows = pd.concat(
            [self._material.train[["clip_id", "path"]].iloc[chosen].reset_index(drop=True), drawn], axis=1
        )
        self._members = chosen
        batches: list[npt.NDArray[np.int64]] = []
        for length in np.unique(self._lengths):
            places = rng.permutation(np.flatnonzero(self._lengths == length))
            windows = min(max(-length, 1), MAX_TRAINING_WINDOWS)  # a negative bucket counts them
            batches += np.array_split(places, -(-len(places) // clips_per_batch(self._batch_size, windows)))
        self._batches = [batches[index] for index in rng.permutation(len(batches))]

    def _chosen(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """The clip at each place of the epoch: each once, or drawn; always as many of every length, so that all epochs
        have as many batches."""
        draws = self._material.balance.draws
        chosen = np.arange(len(self._lengths))
        if draws is not None:
            for length in np.unique(self._lengths):
                places = np.flatnonzero(self._lengths == length)
                chosen[places] = rng.choice(places, len(places), p=draws[places] / draws[places].sum())
        return chosen

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> dict[str, Any]:
        places = self._batches[index]
        members = self._members[places]
        preprocessing = self._material.preprocessing
        waves = list(embedding.waves(self._rows.iloc[places], self._material.data, preprocessing))
        return {
            "features": preprocessing.features(waves, most_windows=MAX_TRAINING_WINDOWS),
            "labels": self._targets[members],
            "groups": self._groups[members],
        }


def spec_augment(features: Tensor) -> Tensor:
    """Spectrograms (clips, a, b) with one stripe over either axis set to the clip's mean (Park et al. 2019)."""
    clips, *sizes = features.shape
    masks = [_stripe(clips, size) for size in sizes]
    masked = masks[0][:, :, None] | masks[1][:, None, :]
    return torch.where(masked.to(features.device), features.mean(dim=(1, 2), keepdim=True), features)


def masked(features: Features, *, has_windows: bool) -> Features:
    """The features with SpecAugment on the recording, when that is a spectrogram; other models mask inside."""
    name, recording = next(iter(features.items()))
    each = recording.flatten(0, 1) if has_windows else recording
    return features | {name: spec_augment(each).view_as(recording)} if each.dim() == 3 else features


def mixed(features: Features, share: float, partner: Tensor) -> Features:
    """The recording with that of its partner, for the rest of `share`; heard is what either of the two lets hear."""
    name, recording = next(iter(features.items()))
    both = {name: share * recording + (1 - share) * recording[partner]}
    return both | {key: torch.maximum(mask, mask[partner]) for key, mask in features.items() if key != name}


def draw_mixup(clips: int, alpha: float) -> tuple[float, Tensor]:
    """The share of each clip itself, from Beta(alpha, alpha), and the partner for the rest (Zhang et al. 2018)."""
    return float(torch.distributions.Beta(alpha, alpha).sample()), torch.randperm(clips)


def _stripe(clips: int, size: int) -> Tensor:
    width = (torch.rand(clips, 1) * _MASKED_SHARE * size).long()
    start = (torch.rand(clips, 1) * (size - width)).long()
    place = torch.arange(size)
    return (place >= start) & (place < start + width)
