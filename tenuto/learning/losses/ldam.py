"""Label-distribution-aware margins, with re-weighting that begins late.

Cao et al., "Learning imbalanced datasets with label-distribution-aware margin loss", NeurIPS 2019: a class with n
clips gets a margin proportional to n^(-1/4), and class weights come in only for the last part of the training
("deferred re-weighting"), when the features have been learned. There the logits are cosines times a scale of 30; ours
are what the head gives, so the margin is in units of `scale` logits.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from tenuto.learning.losses.base import Loss


class LDAM(Loss):
    """Cross-entropy with the own class's logit lowered by its margin; cross-entropy when `max_margin` is 0.

    `counts` (classes,) are the training clips per class; the rarest gets `max_margin` x `scale`. `weights` apply once
    `defer` of the training is done, and in the last epoch anyhow.
    """

    margins: Tensor

    def __init__(
        self,
        counts: Tensor,
        weights: Tensor | None = None,
        *,
        max_margin: float = 0.5,
        scale: float = 4.0,
        defer: float = 0.75,
    ) -> None:
        super().__init__(weights)
        margins = counts.double().clamp(min=1) ** -0.25
        self.register_buffer("margins", (max_margin * scale * margins / margins.max()).float(), persistent=False)
        self.defer = defer
        self._progress = 0.0

    def begin(self, progress: float) -> None:
        self._progress = progress

    def forward(self, logits: Tensor, classes: Tensor) -> Tensor:
        return super().forward(logits, classes) if self._progress > self.defer else self.values(logits, classes)

    def values(self, logits: Tensor, classes: Tensor) -> Tensor:
        own = functional.one_hot(classes, logits.shape[-1]).to(logits.dtype)
        return functional.cross_entropy(logits - own * self.margins[classes][:, None], classes, reduction="none")
