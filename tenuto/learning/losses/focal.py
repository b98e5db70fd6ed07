"""Focal loss: clips that are right already count less.

Lin et al., "Focal loss for dense object detection", ICCV 2017.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from tenuto.learning.losses.base import Loss


class Focal(Loss):
    """-(1 - p)^gamma log p of the class's probability p; cross-entropy when `gamma` is 0."""

    def __init__(self, weights: Tensor | None = None, *, gamma: float = 2.0) -> None:
        super().__init__(weights)
        self.gamma = gamma

    def values(self, logits: Tensor, classes: Tensor) -> Tensor:
        log_p = functional.log_softmax(logits, dim=-1).gather(-1, classes[:, None]).squeeze(-1)
        # -expm1(log p) is 1 - p without the rounding that makes a certain clip's gradient NaN for gamma < 1
        return -((-log_p.expm1()).clamp(min=1e-7) ** self.gamma) * log_p if self.gamma else -log_p
