"""A head that knows one prototype per class and scores a clip by its distance to each.

Snell, Swersky, Zemel, "Prototypical networks for few-shot learning", NeurIPS 2017. There the prototypes are the means
of the classes; here they start as these and are learned, as is the scale of the distances (a temperature).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Prototypes(nn.Module):
    """(clips, dims) to logits (clips, classes): minus the squared distance to each prototype, times a scale."""

    def __init__(self, dims: int, classes: int) -> None:
        super().__init__()
        self.prototypes = nn.Parameter(torch.empty(classes, dims))
        self.log_scale = nn.Parameter(torch.zeros(()))
        nn.init.normal_(self.prototypes, std=dims**-0.5)

    def forward(self, vectors: Tensor) -> Tensor:
        distances = (vectors[:, None] - self.prototypes).square().sum(dim=2)  # (clips, classes)
        return -self.log_scale.exp() * distances
