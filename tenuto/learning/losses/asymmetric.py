"""Asymmetric loss: the many labels that a clip lacks count less than the few that it has.

Ridnik et al., "Asymmetric loss for multi-label classification", ICCV 2021, equations 5 to 7, with the paper's defaults.
Where `BinaryFocal` treats both sides alike, here negatives have a focus of their own and a margin below which they
count nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tenuto.learning.losses.binary import BinaryLoss


class Asymmetric(BinaryLoss):
    """-(1 - p)^g+ log p of labels that are there, -q^g- log(1 - q) with q = max(p - margin, 0) of the others.

    Binary cross-entropy when both gammas and the margin are 0.
    """

    def __init__(
        self,
        weights: Tensor | None = None,
        *,
        gamma_positive: float = 0.0,
        gamma_negative: float = 4.0,
        margin: float = 0.05,
    ) -> None:
        super().__init__(weights)
        self.gamma_positive = gamma_positive
        self.gamma_negative = gamma_negative
        self.margin = margin

    def values(self, logits: Tensor, targets: Tensor) -> Tensor:
        p, rest = torch.sigmoid(logits), torch.sigmoid(-logits)
        kept = (rest + self.margin).clamp(min=torch.finfo(logits.dtype).tiny, max=1)
        positive = _focused(functional.logsigmoid(logits), rest, self.gamma_positive)
        negative = _focused(kept.log(), (p - self.margin).clamp(min=0), self.gamma_negative)
        return -(targets * positive + (1 - targets) * negative)


def _focused(log_p: Tensor, wrong: Tensor, gamma: float) -> Tensor:
    return wrong.clamp(min=1e-7) ** gamma * log_p if gamma else log_p
