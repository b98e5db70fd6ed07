"""Calibration of a trained model on the validation clips: how sure it may be, and from where on a label is given.

The temperature is that of Guo et al., "On calibration of modern neural networks", ICML 2017: logits are divided by one
number, which leaves their order and so the likeliest label as they are. Thresholds change decisions and not
probabilities. Imports neither torch nor transformers: the predictor reads what is fitted here.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tenuto.errors import BackboneError
from tenuto.labels import LabelType
from tenuto.settings import CalibrateSettings

logger = logging.getLogger(__name__)

Array = npt.NDArray[np.float64]

FILE_NAME = "tenuto_calibration.json"

MIN_CLIPS = 30
"""With fewer validation clips the fitted temperature is further from the best one than 1 is."""

MIN_POSITIVES = 5
"""With fewer validation clips of a class its threshold stays where it is."""

_TEMPERATURES = (0.25, 8.0)
_STEPS = 60


@dataclass(frozen=True)
class Calibration:
    """What is done to logits and probabilities: nothing, with the defaults.

    `thresholds` (classes,) are None where labels are decided without: the likeliest one, or those of at least 0.5.
    `note` says why something was not fitted.
    """

    temperature: float = 1.0
    thresholds: tuple[float, ...] | None = None
    note: str = ""

    def probabilities(self, logits: Array, kind: LabelType) -> Array:
        """(clips, classes) of logits: of all classes against one another, or of each class by itself."""
        scaled = logits / self.temperature
        return softmax(scaled) if kind == "one" else sigmoid(scaled)

    def decide(self, probabilities: Array, kind: LabelType) -> npt.NDArray[np.bool_]:
        """(clips, classes): the label whose probability is highest for its threshold, or all that reach theirs."""
        if kind == "many":
            return np.asarray(probabilities >= (0.5 if self.thresholds is None else np.array(self.thresholds)))
        found = probabilities if self.thresholds is None else probabilities / np.array(self.thresholds)
        return np.asarray(found.argmax(axis=1)[:, None] == np.arange(probabilities.shape[1]))

    def save(self, folder: Path) -> None:
        """Write FILE_NAME into a checkpoint folder."""
        (folder / FILE_NAME).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


PLAIN = Calibration()
"""Of a model that was not calibrated."""


def load(folder: Path) -> Calibration:
    """The calibration in a checkpoint folder, and none where there is no such file; BackboneError for a damaged one."""
    path = folder / FILE_NAME
    if not path.is_file():
        return PLAIN
    try:
        found = Calibration(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise BackboneError(f"{path} is no calibration of Tenuto: {error}") from error
    return found if found.thresholds is None else Calibration(found.temperature, tuple(found.thresholds), found.note)


def fit(logits: Array, targets: npt.NDArray[Any], settings: CalibrateSettings, kind: LabelType) -> Calibration:
    """The calibration of a model that gives the validation clips these logits (clips, classes).

    `targets` are those of `tenuto.labels.targets`.
    """
    temperature, notes = 1.0, []
    if settings.temperature and len(logits) < MIN_CLIPS:
        notes.append(f"no temperature: {len(logits)} validation clips, at least {MIN_CLIPS} wanted")
    elif settings.temperature:
        temperature = fit_temperature(logits, targets, kind)
    thresholds = None
    if settings.thresholds:
        found, truth = Calibration(temperature).probabilities(logits, kind), _matrix(targets, logits.shape[1])
        thresholds = tuple(float(value) for value in fit_thresholds(found, truth, kind))
        if few := int((truth.sum(axis=0) < MIN_POSITIVES).sum()):
            notes.append(
                f"no thresholds for {few} of {truth.shape[1]} classes: fewer than {MIN_POSITIVES} validation clips"
            )
    for note in notes:
        logger.info(note)
    return Calibration(round(temperature, 4), thresholds, "; ".join(notes))


def fit_temperature(logits: Array, targets: npt.NDArray[Any], kind: LabelType) -> float:
    """The temperature in [0.25, 8] with the least log loss on these clips; golden-section search on its logarithm."""

    def loss(log_temperature: float) -> float:
        return log_loss(logits / np.exp(log_temperature), targets, kind)

    low, high = np.log(_TEMPERATURES)
    golden = (np.sqrt(5) - 1) / 2
    for _ in range(_STEPS):  # the log loss is convex in 1 / T, so it has one minimum
        left, right = high - golden * (high - low), low + golden * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def log_loss(logits: Array, targets: npt.NDArray[Any], kind: LabelType) -> float:
    """The mean of -log p of what is true, in nats: per clip, or with several labels a clip per clip and label."""
    if kind == "many":
        return float(np.logaddexp(0, np.where(targets > 0, -logits, logits)).mean())
    top = logits.max(axis=1, keepdims=True)
    normaliser = top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))
    return float((normaliser - logits[np.arange(len(targets)), targets]).mean())


def fit_thresholds(probabilities: Array, truth: npt.NDArray[np.bool_], kind: LabelType) -> Array:
    """(classes,) the threshold of the best F1 of each class against the rest, halfway between two clips' probabilities.

    `truth` (clips, classes) says which labels clips have. Of equally good thresholds the one nearest to what would be
    used without is taken: 0.5, or for `kind` "one" 1 / classes. A class of fewer than MIN_POSITIVES clips keeps that.
    """
    classes = probabilities.shape[1]
    usual = 0.5 if kind == "many" else 1 / classes
    thresholds = np.full(classes, usual)
    for place in range(classes):
        if truth[:, place].sum() >= MIN_POSITIVES:
            thresholds[place] = _best_threshold(probabilities[:, place], truth[:, place], usual)
    return thresholds


def _best_threshold(probabilities: Array, truth: npt.NDArray[np.bool_], usual: float) -> float:
    values = np.unique(probabilities)
    candidates = np.clip([usual, *((values[1:] + values[:-1]) / 2)], 1e-3, 1.0)
    order = probabilities.argsort()
    below = np.searchsorted(probabilities[order], candidates)  # clips that a candidate leaves out
    positives_below = np.concatenate([[0], truth[order].cumsum()])[below]
    hits, said = truth.sum() - positives_below, len(truth) - below
    f1 = 2 * hits / np.maximum(said + truth.sum(), 1)
    best = candidates[f1 >= f1.max() - 1e-12]
    return float(best[np.abs(np.log(best / usual)).argmin()])


def sigmoid(logits: Array) -> Array:
    """Probabilities (clips, classes) of logits of classes that do not exclude one another."""
    return np.asarray(np.exp(-np.logaddexp(0, -logits)))


def softmax(logits: Array) -> Array:
    """Probabilities (clips, classes) of logits."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def _matrix(targets: npt.NDArray[Any], classes: int) -> npt.NDArray[np.bool_]:
    return np.asarray(targets > 0 if targets.ndim == 2 else targets[:, None] == np.arange(classes))
