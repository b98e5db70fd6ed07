"""The linear probe: a logistic regression on frozen embeddings, which becomes the head of the model.

First half of LP-FT (Kumar et al., "Fine-tuning can distort pretrained features and underperform out-of-distribution",
2022): fine-tuning starts from a head that already fits, so it bends the features less.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LinearProbe:
    """Weights (classes, dimensions) and biases (classes,) on embeddings as they are, not standardised."""

    weights: Array
    biases: Array

    def logits(self, vectors: npt.NDArray[np.float32]) -> Array:
        """(clips, classes) of embeddings (clips, dimensions)."""
        return np.asarray(vectors @ self.weights.T + self.biases)

    def install(self, head: nn.Linear) -> None:
        """Make `head` compute this probe's logits."""
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(self.weights))
            head.bias.copy_(torch.from_numpy(self.biases))


def fit(vectors: npt.NDArray[np.float32], classes: npt.NDArray[np.int64], count: int, *, c: float) -> LinearProbe:
    """The probe for class numbers in [0, count), each of which must occur; `c` is the inverse of the L2 penalty."""
    mean, scale = vectors.mean(axis=0, dtype=np.float64), vectors.std(axis=0, dtype=np.float64)
    scale = np.where(scale > 1e-6 * max(float(scale.max()), 1e-12), scale, 1.0)
    regression = LogisticRegression(C=c, max_iter=2000).fit((vectors - mean) / scale, classes)
    weights, biases = regression.coef_, regression.intercept_
    if count == 2:  # scikit-learn gives the second class's logit only
        weights, biases = np.concatenate([-weights, weights]) / 2, np.concatenate([-biases, biases]) / 2
    weights = weights / scale
    return LinearProbe(weights, biases - weights @ mean)
