"""A head with one hidden layer."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

_DROPOUT = 0.2


class MLP(nn.Module):
    """(clips, dims) to logits (clips, classes) through `hidden_size` rectified units, of which training drops a fifth.

    Dropout: Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 2014.
    """

    def __init__(self, dims: int, classes: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(dims, hidden_size)
        self.output = nn.Linear(hidden_size, classes)

    def forward(self, vectors: Tensor) -> Tensor:
        units = functional.dropout(functional.relu(self.hidden(vectors)), _DROPOUT, self.training)
        return cast(Tensor, self.output(units))

    def begin(self, vectors: Tensor, targets: Tensor) -> None:
        """Begin as it is, at random, whatever the clips."""

    def undo(self, mean: npt.NDArray[np.float64], scale: npt.NDArray[np.float64]) -> None:
        """Take vectors as they are, after having been fitted to (vectors - mean) / scale."""
        with torch.no_grad():
            weight = self.hidden.weight.double() / torch.from_numpy(scale)
            self.hidden.bias.copy_(self.hidden.bias.double() - weight @ torch.from_numpy(mean))
            self.hidden.weight.copy_(weight)
