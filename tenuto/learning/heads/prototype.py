"""A head that knows one prototype per class and scores a clip by its distance to each.

Snell, Swersky, Zemel, "Prototypical networks for few-shot learning", NeurIPS 2017. There the prototypes are the means
of the classes; here they start as these and are learned, as is the scale of the distances (a temperature).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

_LEAST_VARIANCE = 1e-8


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

    def begin(self, vectors: Tensor, targets: Tensor) -> None:
        """Begin at the means of the classes, each of which must occur: vectors (clips, dims), class numbers (clips,).

        The scale is 1 / (2 v) with v the variance around them, as if the classes were round clouds of that size.
        """
        classes = len(self.prototypes)
        means = torch.stack([vectors[targets == index].mean(dim=0) for index in range(classes)])
        variance = (vectors - means[targets]).square().mean()
        with torch.no_grad():
            self.prototypes.copy_(means)
            self.log_scale.copy_(-(2 * variance.clamp_min(_LEAST_VARIANCE)).log())

    def undo(self, mean: npt.NDArray[np.float64], scale: npt.NDArray[np.float64]) -> None:
        """Take vectors as they are, after having been fitted to (vectors - mean) / scale, one scale for all."""
        factor = float(scale.mean())
        with torch.no_grad():
            self.prototypes.copy_(self.prototypes.double() * factor + torch.from_numpy(mean))
            self.log_scale.sub_(2 * np.log(factor))
