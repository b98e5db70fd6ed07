"""What stands on an encoder: a pool makes one vector of a clip's frames, a head makes a clip's scores of it.

A pool takes (clips, frames, dims) and, where padding must not count, a mask (clips, frames) that is True where
something was heard; of a clip in which nothing was, all frames count. Poolings with weights of their own start as the
mean over frames, so a head that was fitted on means fits them as well.
"""

from __future__ import annotations

from torch import nn

from tenuto.learning.heads.attention import AttentionPool
from tenuto.learning.heads.mlp import MLP
from tenuto.learning.heads.pools import MaxPool, MeanPool, Pool, StatisticsPool
from tenuto.learning.heads.prototype import Prototypes
from tenuto.learning.heads.recurrent import RecurrentPool

__all__ = [
    "MLP",
    "AttentionPool",
    "MaxPool",
    "MeanPool",
    "Pool",
    "Prototypes",
    "RecurrentPool",
    "StatisticsPool",
    "head",
    "pool",
]


def pool(name: str, dims: int, hidden_size: int) -> Pool:
    """The pool that `model.pool` names, over frames of so many dims; 'own' is the mean."""
    if name == "max":
        return MaxPool(dims)
    if name == "statistics":
        return StatisticsPool(dims)
    if name == "attention":
        return AttentionPool(dims, hidden_size)
    if name in ("gru", "lstm"):
        return RecurrentPool(dims, hidden_size, is_lstm=name == "lstm")
    return MeanPool(dims)


def head(name: str, dims: int, classes: int, hidden_size: int) -> nn.Module:
    """The head that `model.head` names: (clips, dims) to logits (clips, classes)."""
    if name == "mlp":
        return MLP(dims, classes, hidden_size)
    if name == "prototype":
        return Prototypes(dims, classes)
    return nn.Linear(dims, classes)
