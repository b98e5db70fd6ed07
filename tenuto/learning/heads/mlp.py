"""A head with one hidden layer."""

from __future__ import annotations

from typing import cast

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
