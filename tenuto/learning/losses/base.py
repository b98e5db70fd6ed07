"""What all losses share: one value per clip, and weights of classes that average to one over the training clips."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

Weighting = Literal["none", "inverse", "effective-number"]

_BETA = 0.999


class Loss(nn.Module):
    """One value per clip, in nats; `weights` (classes,) multiply the values of their class."""

    weights: Tensor

    def __init__(self, weights: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, logits: Tensor, classes: Tensor) -> Tensor:
        """(clips,) of logits (clips, classes) and class numbers (clips,)."""
        values = self.values(logits, classes)
        return values if self.weights is None else values * self.weights[classes]

    @abstractmethod
    def values(self, logits: Tensor, classes: Tensor) -> Tensor:
        """(clips,), before the classes are weighted."""

    def begin(self, progress: float) -> None:
        """Told before every epoch which share of the training will be done at its end, in (0, 1]."""


def class_weights(counts: Tensor, weighting: Weighting) -> Tensor | None:
    """(classes,) weights for `counts` training clips per class, scaled so that their mean over the clips is 1.

    'inverse' is 1 / count. 'effective-number' is (1 - b) / (1 - b^count) with b = 0.999: clips of a large class say
    less and less that is new (Cui et al., "Class-balanced loss based on effective number of samples", CVPR 2019). Its
    limits are no weights for b = 0 and 'inverse' for b -> 1. A class without clips weighs nothing.
    """
    if weighting == "none":
        return None
    counts = counts.double()
    occurs = counts > 0
    effective = counts if weighting == "inverse" else effective_number(counts)
    weights = torch.where(occurs, 1 / effective.clamp(min=1), 0.0)
    return (weights * counts.sum() / (weights * counts).sum()).float()


def effective_number(counts: Tensor) -> Tensor:
    """How many clips that say something new `counts` clips are worth."""
    return (1 - _BETA**counts) / (1 - _BETA)
