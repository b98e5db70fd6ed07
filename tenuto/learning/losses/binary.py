"""Cross-entropy of each label by itself, for clips that have several labels or none."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tenuto.learning.losses.base import Loss, Weighting, effective_number


class BinaryLoss(Loss):
    """The mean over the labels of one value per clip and label, in nats; `weights` (classes,) multiply the positives'.

    Takes targets (clips, classes), 1 where a clip has the label and else 0, in place of class numbers.
    """

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(clips,) of logits and targets (clips, classes)."""
        targets = targets.to(logits.dtype)
        values = self.values(logits, targets)
        weighted = values if self.weights is None else values * (1 + (self.weights - 1) * targets)
        return weighted.mean(dim=-1)


class BinaryCrossEntropy(BinaryLoss):
    """-log p of a label that is there, -log (1 - p) of one that is not, after smoothing towards 0.5 by a share."""

    def __init__(self, weights: Tensor | None = None, *, label_smoothing: float = 0.0) -> None:
        super().__init__(weights)
        self.label_smoothing = label_smoothing

    def values(self, logits: Tensor, targets: Tensor) -> Tensor:
        smoothed = targets * (1 - self.label_smoothing) + self.label_smoothing / 2
        return functional.binary_cross_entropy_with_logits(logits, smoothed, reduction="none")


def positive_weights(positives: Tensor, clips: int, weighting: Weighting) -> Tensor | None:
    """(classes,) weights that even out `positives` (classes,) against the rest of `clips`.

    'inverse' is negatives / positives; 'effective-number' is the same of effective numbers (Cui et al. 2019). A label
    that no clip or every clip has is not weighted.
    """
    if weighting == "none":
        return None
    positives = positives.double()
    negatives = clips - positives
    if weighting == "inverse":
        ratios = negatives / positives
    else:
        ratios = effective_number(negatives) / effective_number(positives)
    return torch.where((positives > 0) & (negatives > 0), ratios, 1.0).float()
