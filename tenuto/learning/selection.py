"""How a model does on the validation split, by which epochs, heads and settings are chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import f1_score

from tenuto.labels import LabelType
from tenuto.learning.batches import Material
from tenuto.learning.calibration import PLAIN, fit_temperature, log_loss
from tenuto.learning.predictor import logits_of


@dataclass(frozen=True)
class Scores:
    """How a model does on the validation split; `log_loss` in nats."""

    macro_f1: float
    log_loss: float

    @property
    def selection(self) -> float:
        """Macro-F1, with the log loss to decide between equals: higher is better."""
        return self.macro_f1 - 1e-4 * min(self.log_loss, 10.0)


def is_better(
    one: npt.NDArray[np.float64], other: npt.NDArray[np.float64], truth: npt.NDArray[Any], kind: LabelType = "one"
) -> bool:
    """Whether the first of two models does better, by their logits (clips, classes) for the same clips.

    By macro-F1 where they differ by more than its standard error, taken for that of a share of the clips. Models that
    the clips cannot tell apart in this way are told apart by their log loss, each at the temperature that suits it.
    """
    first, second = (score(logits, truth, kind).macro_f1 for logits in (one, other))
    share = (first + second) / 2
    if abs(first - second) > np.sqrt(share * (1 - share) / len(truth)):
        return first > second
    losses = [log_loss(logits / fit_temperature(logits, truth, kind), truth, kind) for logits in (one, other)]
    return losses[0] < losses[1]


def validate(model: Any, material: Material, batch_size: int) -> Scores:
    """The scores of `model` on the validation split, which is heard as it is."""
    was_training = model.training
    model.eval()
    scores = logits_of(model, material.validation_batches(batch_size))
    model.train(was_training)
    return score(scores, material.targets(material.validation), material.kind)


def score(scores: npt.NDArray[np.float64], truth: npt.NDArray[Any], kind: LabelType = "one") -> Scores:
    """Scores of logits (clips, classes) against class numbers (clips,), or for "many" 0 and 1 (clips, classes).

    With several labels a clip the log loss is the mean of each label's own.
    """
    said = scores.argmax(axis=1) if kind == "one" else PLAIN.decide(PLAIN.probabilities(scores, kind), kind)
    return Scores(
        macro_f1=float(f1_score(truth, said, average="macro", zero_division=0.0)),
        log_loss=log_loss(scores, truth, kind),
    )
