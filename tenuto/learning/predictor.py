"""Probabilities for waves or audio files from a checkpoint folder: all that evaluation and serving need.

Imports nothing of training, orchestration or registry.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tenuto.errors import BackboneError
from tenuto.labels import MULTI_LABEL, LabelType
from tenuto.learning import calibration
from tenuto.learning.backbones import quiet, register
from tenuto.learning.calibration import PLAIN, Calibration
from tenuto.learning.framing import Wave
from tenuto.learning.preprocessing import Features, Preprocessing, moved

Array = npt.NDArray[np.float64]


class Predictor:
    """A checkpoint that is ready to listen."""

    def __init__(self, model: Any, preprocessing: Preprocessing, fitted: Calibration = PLAIN) -> None:
        self.model = model.eval()
        self.preprocessing = preprocessing
        self.calibration = fitted
        id2label = model.config.id2label
        self.labels: tuple[str, ...] = tuple(id2label[index] for index in range(len(id2label)))
        self.kind: LabelType = kind_of(model.config)

    @classmethod
    def load(cls, path: Path) -> Predictor:
        """The predictor in a checkpoint folder; BackboneError when the folder holds none."""
        from transformers import AutoModelForAudioClassification

        register()
        preprocessing = Preprocessing.load(path)
        with quiet():
            try:
                model = AutoModelForAudioClassification.from_pretrained(path)
            except (OSError, ValueError, RuntimeError) as error:
                raise BackboneError(f"{path} holds no weights that load: {error}") from error
        return cls(model, preprocessing, calibration.load(path))

    @property
    def sample_rate_hz(self) -> int:
        return self.preprocessing.sample_rate_hz

    @property
    def parameters(self) -> int:
        """How many weights the model has, frozen ones included."""
        return sum(weights.numel() for weights in self.model.parameters())

    def predict(self, waves: Iterable[Wave], batch_size: int = 32) -> Array:
        """Probabilities (clips, classes) in the order of `labels`; for `kind` "one" rows sum to 1.

        `waves` are (n,) float32, mono, in [-1, 1], at `sample_rate_hz`, as `tenuto.sound.audio` gives them; any
        lengths.
        """
        scores = logits(self.model, self.preprocessing, waves, batch_size)
        return self.calibration.probabilities(scores, self.kind)

    def decide(self, found: Array) -> npt.NDArray[np.bool_]:
        """(clips, classes): which labels the model gives clips of these probabilities, of the same shape.

        For `kind` "one" one True a row; for "many" as many as there are, or none. The checkpoint's thresholds count.
        """
        return self.calibration.decide(found, self.kind)

    @property
    def thresholds(self) -> dict[str, float]:
        """The probability from which each label is given, for `kind` "many"; empty for "one"."""
        if self.kind == "one":
            return {}
        return dict(zip(self.labels, self.calibration.thresholds or (0.5,) * len(self.labels), strict=True))


def logits(model: Any, preprocessing: Preprocessing, waves: Iterable[Wave], batch_size: int = 32) -> Array:
    """(clips, classes) of a model in evaluation mode, in the order of `waves`."""
    return logits_of(model, preprocessing.batches(waves, batch_size))


def logits_of(model: Any, batches: Iterable[tuple[list[int], Features]]) -> Array:
    """(clips, classes) of a model in evaluation mode, in the order of the positions that come with the batches."""
    rows: dict[int, npt.NDArray[np.float64]] = {}
    with torch.inference_mode():
        for positions, features in batches:
            scores = model(**moved(features, model.device)).logits.double().cpu().numpy()
            rows.update(zip(positions, scores, strict=True))
    return _stacked(rows, model.config.num_labels)


def kind_of(config: Any) -> LabelType:
    """How many labels a clip gets from a model with this transformers config."""
    return "many" if config.problem_type == MULTI_LABEL else "one"


def _stacked(rows: dict[int, Array], width: int) -> Array:
    ordered: Sequence[Array] = [rows[position] for position in range(len(rows))]
    return np.stack(ordered) if ordered else np.empty((0, width))
