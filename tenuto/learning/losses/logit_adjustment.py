"""Logit adjustment: classes must win by more, the rarer they are in training.

Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, equation 10. Minimising it estimates the balanced
error; at prediction the logits are taken as they are.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from tenuto.learning.losses.base import Loss


class LogitAdjustment(Loss):
    """Cross-entropy of the logits plus tau log(share of the class); cross-entropy when `tau` is 0.

    `counts` (classes,) are the training clips per class; one without clips counts as half a clip.
    """

    adjustment: Tensor

    def __init__(
        self, counts: Tensor, weights: Tensor | None = None, *, tau: float = 1.0, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(weights)
        shares = counts.double().clamp(min=0.5) / counts.sum()
        self.register_buffer("adjustment", (tau * shares.log()).float(), persistent=False)
        self.label_smoothing = label_smoothing

    def values(self, logits: Tensor, classes: Tensor) -> Tensor:
        adjusted = logits + self.adjustment.to(logits.dtype)
        return functional.cross_entropy(adjusted, classes, reduction="none", label_smoothing=self.label_smoothing)
