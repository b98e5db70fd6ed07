"""Heads with more than a linear layer, fitted on frozen embeddings: seconds of gradient steps, early stopped.

Separate from `tenuto.learning.probe`, whose objective is convex: there the minimum is found, here a good place that
depends on where one starts, so everything random comes from the seed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tenuto.learning import backbones, heads, probe
from tenuto.learning.imbalance import Balance
from tenuto.learning.losses import GroupDRO
from tenuto.learning.probe import FittedHead

Vectors = npt.NDArray[np.float32]
Array = npt.NDArray[np.float64]

_STEPS, _STEPS_PER_CHECK, _PATIENCE_CHECKS = 1000, 20, 10
_BATCH_CLIPS = 512
_LEARNING_RATE, _WEIGHT_DECAY = 3e-3, 1e-2


@dataclass(frozen=True)
class FittedModule:
    """A head as a module, on embeddings as they are."""

    module: nn.Module

    def logits(self, vectors: Vectors) -> Array:
        """(clips, classes) of embeddings (clips, dimensions)."""
        with torch.inference_mode():
            return np.asarray(self.module(torch.from_numpy(vectors)).double().numpy())

    def install(self, model: Any) -> None:
        """Make the head of `model`, which must be of the same kind, compute these logits."""
        backbones.head(model).load_state_dict(self.module.state_dict())


def fit(
    name: str,
    vectors: Vectors,
    targets: npt.NDArray[Any],
    classes: int,
    *,
    hidden_size: int,
    balance: Balance,
    selection: Callable[[FittedHead], float],
    seed: int,
) -> FittedModule:
    """The head `name` ('mlp' or 'prototype') fitted to embeddings (clips, dimensions) with the balance's loss.

    `targets` are class numbers (clips,), or for an mlp 0 and 1 (clips, classes). `selection` says how good a head is on
    the validation clips, higher is better; the best of the places that were visited is taken.
    """
    mean, scale = probe.standardisation(vectors)
    if name == "prototype":
        scale = np.full_like(scale, scale.mean())  # distances are kept but for one factor
    inputs, truth = torch.from_numpy(((vectors - mean) / scale).astype(np.float32)), torch.from_numpy(targets)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head: Any = heads.head(name, vectors.shape[1], classes, hidden_size)
        head.begin(inputs, truth)

        def standing() -> float:
            as_it_is = copy.deepcopy(head).eval()
            as_it_is.undo(mean, scale)
            return selection(FittedModule(as_it_is))

        _descend(head, inputs, truth, balance, standing)
    head.undo(mean, scale)
    return FittedModule(head.eval())


def _descend(head: nn.Module, inputs: Tensor, truth: Tensor, balance: Balance, standing: Callable[[], float]) -> None:
    """Leaves `head` as it was when it stood best."""
    draws = torch.ones(len(truth)) if balance.draws is None else torch.from_numpy(balance.draws).float()
    groups = None if balance.groups is None else torch.from_numpy(balance.groups)
    dro = GroupDRO(max(len(balance.group_names), 1))
    balance.loss.begin(1.0)  # whatever a loss defers to the end of a training is in force
    optimizer = torch.optim.AdamW(head.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    best, best_at, weights = standing(), 0, _copy(head)
    for step in range(1, _STEPS + 1):
        chosen = torch.randperm(len(inputs))[:_BATCH_CLIPS]
        values = draws[chosen] * balance.loss(head(inputs[chosen]), truth[chosen])
        optimizer.zero_grad()
        (values.mean() if groups is None else dro(values, groups[chosen])).backward()
        optimizer.step()
        if step % _STEPS_PER_CHECK == 0:
            if (found := standing()) > best:
                best, best_at, weights = found, step, _copy(head)
            elif step - best_at >= _PATIENCE_CHECKS * _STEPS_PER_CHECK:
                break
    head.load_state_dict(weights)


def _copy(head: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in head.state_dict().items()}
