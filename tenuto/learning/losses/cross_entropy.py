"""Cross-entropy, which all the others reduce to."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from tenuto.learning.losses.base import Loss


class CrossEntropy(Loss):
    """-log p(class), after label smoothing (Szegedy et al. 2016) by a share in [0, 1) over all classes."""

    def __init__(self, weights: Tensor | None = None, *, label_smoothing: float = 0.0) -> None:
        super().__init__(weights)
        self.label_smoothing = label_smoothing

    def values(self, logits: Tensor, classes: Tensor) -> Tensor:
        return functional.cross_entropy(logits, classes, reduction="none", label_smoothing=self.label_smoothing)
