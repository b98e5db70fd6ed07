"""Focal loss of each label by itself: what is right already counts less.

Lin et al., "Focal loss for dense object detection", ICCV 2017, equation 4 without its alpha, whose place the weights
take. The sibling for one label a clip is `Focal`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tenuto.learning.losses.binary import BinaryLoss


class BinaryFocal(BinaryLoss):
    """-(1 - p)^gamma log p, p being the probability of what is true; binary cross-entropy when `gamma` is 0."""

    def __init__(self, weights: Tensor | None = None, *, gamma: float = 2.0) -> None:
        super().__init__(weights)
        self.gamma = gamma

    def values(self, logits: Tensor, targets: Tensor) -> Tensor:
        values = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        # -expm1(-loss) is 1 - p without rounding; the floor keeps the gradient finite for gamma < 1
        return (-torch.expm1(-values)).clamp(min=1e-7) ** self.gamma * values if self.gamma else values
