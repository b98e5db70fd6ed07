"""The linear probe: a logistic regression on frozen embeddings, which becomes the head of the model.

First half of LP-FT (Kumar et al., "Fine-tuning can distort pretrained features and underperform out-of-distribution",
2022): fine-tuning starts from a head that already fits, so it bends the features less.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch import nn

from tenuto.learning import backbones
from tenuto.learning.imbalance import Balance
from tenuto.learning.losses import BinaryCrossEntropy, GroupDRO

Array = npt.NDArray[np.float64]

_DRO_ROUNDS = 60
_DRO_STEP = 0.2


class FittedHead(Protocol):
    """A head that was fitted on frozen embeddings."""

    def logits(self, vectors: npt.NDArray[np.float32]) -> Array:
        """(clips, classes) of embeddings (clips, dimensions)."""

    def install(self, model: Any) -> None:
        """Make the head of `model` compute these logits."""


@dataclass(frozen=True)
class LinearProbe:
    """Weights (classes, dimensions) and biases (classes,) on embeddings as they are, not standardised."""

    weights: Array
    biases: Array

    def logits(self, vectors: npt.NDArray[np.float32]) -> Array:
        """(clips, classes) of embeddings (clips, dimensions)."""
        return np.asarray(vectors @ self.weights.T + self.biases)

    def install(self, model: Any) -> None:
        """Make the linear head of `model` compute this probe's logits."""
        head: Any = backbones.head(model)
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(self.weights))
            head.bias.copy_(torch.from_numpy(self.biases))


def fit(
    vectors: npt.NDArray[np.float32],
    targets: npt.NDArray[Any],
    count: int,
    *,
    c: float,
    balance: Balance | None = None,
) -> LinearProbe:
    """The probe for class numbers `targets` (clips,) in [0, count), each of which must occur.

    `c` is the inverse of the L2 penalty. With `targets` (clips, count) of 0 and 1 there is one regression for each
    label against the rest. With a `balance` the clips count as it says, and its loss takes the place of the
    cross-entropy.
    """
    mean, scale = standardisation(vectors)
    standardised = (vectors - mean) / scale
    if targets.ndim == 2:
        weights, biases = _minimised(standardised, targets, count, c, balance or Balance(BinaryCrossEntropy()))
    elif balance is None or (balance.is_plain and balance.loss.weights is None):
        weights, biases = _regression(standardised, targets, count, c)
    else:
        weights, biases = _minimised(standardised, targets, count, c, balance)
    weights = weights / scale
    return LinearProbe(weights, biases - weights @ mean)


def standardisation(vectors: npt.NDArray[np.float32]) -> tuple[Array, Array]:
    """Mean and standard deviation (dimensions,) of embeddings (clips, dimensions); 1 where one hardly varies."""
    mean, scale = vectors.mean(axis=0, dtype=np.float64), vectors.std(axis=0, dtype=np.float64)
    return mean, np.where(scale > 1e-6 * max(float(scale.max()), 1e-12), scale, 1.0)


def _regression(vectors: Array, classes: npt.NDArray[np.int64], count: int, c: float) -> tuple[Array, Array]:
    # how many threads share a sum decides its last bits, and machines have different numbers of cores
    with threadpool_limits(torch.get_num_threads(), user_api="blas"):
        regression = LogisticRegression(C=c, max_iter=2000).fit(vectors, classes)
    weights, biases = regression.coef_, regression.intercept_
    if count == 2:  # scikit-learn gives the second class's logit only
        weights, biases = np.concatenate([-weights, weights]) / 2, np.concatenate([-biases, biases]) / 2
    return weights, biases


def _minimised(
    vectors: Array, targets: npt.NDArray[Any], count: int, c: float, balance: Balance
) -> tuple[Array, Array]:
    """The minimum of the balance's loss plus the penalty, by L-BFGS; for groups, again and again as their shares move.

    The penalty is scikit-learn's: with two classes that of the difference of the two weights, which is twice the one of
    both; with several labels a clip that of each label's own regression, of whose losses ours is the mean.
    """
    inputs, truth = torch.tensor(vectors), torch.tensor(targets)
    strength = 1 / count if targets.ndim == 2 else 2 if count == 2 else 1
    layer = nn.Linear(vectors.shape[1], count, dtype=torch.float64)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    draws = torch.ones(len(targets)) if balance.draws is None else torch.from_numpy(balance.draws)
    groups = None if balance.groups is None else torch.from_numpy(balance.groups)
    dro = GroupDRO(max(len(balance.group_names), 1), step=_DRO_STEP)
    balance.loss.begin(1.0)  # whatever a loss defers to the end of a training is in force

    def objective() -> torch.Tensor:
        values = draws * balance.loss(layer(inputs), truth)
        mean = values.mean() if groups is None else dro(values, groups)
        return mean + layer.weight.square().sum() * strength / (2 * c * len(targets))

    for _ in range(1 if groups is None else _DRO_ROUNDS):
        if groups is not None:
            with torch.no_grad():
                dro.train()
                objective()
                dro.eval()
        _descend(layer, objective, 500 if groups is None else 20)
    return layer.weight.detach().numpy(), layer.bias.detach().numpy()


def _descend(layer: nn.Linear, objective: Callable[[], torch.Tensor], steps: int) -> None:
    optimizer = torch.optim.LBFGS(
        layer.parameters(), max_iter=steps, tolerance_grad=1e-7, tolerance_change=1e-10, line_search_fn="strong_wolfe"
    )

    def closure() -> float:
        optimizer.zero_grad()
        value = objective()
        value.backward()
        return float(value.detach())

    optimizer.step(closure)
