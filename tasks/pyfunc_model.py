"""The model as MLflow serves it: encoded audio or samples in, label (or labels) and the probability of every class out.

MLflow stores this file with each registered version and runs it where the model is served, beside a copy of the
package `tenuto`; neither Prefect nor DVC nor Great Expectations is needed there. A version with a bundle answers by
the exported graph, as `tenuto serve` does, and needs no torch either; one without answers by its checkpoint.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

# not only for the type checker: MLflow reads the type hints of `predict`, and warns when it cannot
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class AudioClassifier(PythonModel):
    """Classifies recordings given as the bytes of a wav, flac, ogg or mp3 file, or as their samples."""

    def load_context(self, context: PythonModelContext) -> None:
        """Loads the bundle or the checkpoint that the version was registered with."""
        self._model: Any
        self._has_bundle = "serving" in context.artifacts
        if self._has_bundle:
            from tenuto.serving.hearing.classifier import Classifier

            self._model = Classifier.load(Path(context.artifacts["serving"]))
        else:
            from tenuto.learning.predictor import Predictor

            self._model = Predictor.load(Path(context.artifacts["checkpoint"]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """One row per row of `model_input`, which has the column `audio` with encoded audio, or `samples`.

        `samples` are lists of numbers, mono, full scale is 1, at `sample_rate_hz`, or at the model's own rate
        where it is missing. Gives back `label`, its `probability`, and one column `p_<label>` per class. A model that
        gives clips several labels has `labels` ('dog;rain', '' for none) in place of the first two. With a bundle there
        are also `is_unknown` and `novelty`; a clip that is too unlike the training clips is labelled 'unknown', and
        its `probability` is that of the likeliest class. ValueError names what cannot be used.
        """
        from tenuto.labels import UNKNOWN, joined

        model = self._model
        framing = model.framing if self._has_bundle else model.preprocessing.framing
        waves = _waves(model_input, framing)
        if self._has_bundle:
            heard = model.hear(waves)
            probabilities, decided = heard.probabilities, heard.decided
            unlike = pd.DataFrame({"is_unknown": heard.is_unknown, "novelty": heard.novelty})
        else:
            probabilities = model.predict(waves)
            decided, unlike = model.decide(probabilities), pd.DataFrame(index=range(len(waves)))
        names = [joined(np.array(model.labels)[row].tolist()) for row in decided]
        certainty = (probabilities * decided).sum(axis=1)
        if self._has_bundle:
            names = [UNKNOWN if is_it else name for name, is_it in zip(names, heard.is_unknown, strict=True)]
            certainty = np.where(heard.is_unknown, probabilities.max(axis=1), certainty)
        answer = {"labels": names} if model.kind == "many" else {"label": names, "probability": certainty}
        columns = pd.DataFrame(probabilities, columns=[f"p_{label}" for label in model.labels])
        return pd.concat([pd.DataFrame(answer), unlike, columns], axis=1)


def _waves(given: pd.DataFrame, framing: Any) -> list[np.ndarray]:
    """(n,) float32 of each row, at the model's rate, as `tenuto serve` would hear it."""
    from tenuto.errors import ClipError
    from tenuto.serving.endpoints import sounds
    from tenuto.serving.settings import LimitSettings

    if "audio" in given:
        sent = [bytes(encoded) for encoded in given["audio"]]
    elif "samples" in given:
        own = framing.sample_rate_hz
        rates = given.get("sample_rate_hz", pd.Series(float(own), given.index)).fillna(own)
        sent = [_recording(*row) for row in zip(given["samples"], rates, strict=True)]
    else:
        raise ValueError("A row needs 'audio', an encoded recording (base64 in JSON), or 'samples', a list of numbers.")
    longest = LimitSettings().max_seconds
    try:
        return [sounds.decoded(sound, framing, max_seconds=longest).wave for sound in sent]
    except ClipError as error:
        raise ValueError(f"A recording cannot be used: {error.detail} ({error.reason}).") from None


def _recording(samples: Any, sample_rate_hz: float) -> Any:
    from tenuto.sound.audio import MAX_SAMPLE_RATE_HZ, MIN_SAMPLE_RATE_HZ, Recording

    wave = np.asarray(samples, dtype=np.float32)
    if wave.ndim != 1:
        raise ValueError("'samples' must be a list of numbers, full scale is 1: one channel of a recording.")
    if not (float(sample_rate_hz).is_integer() and MIN_SAMPLE_RATE_HZ <= sample_rate_hz <= MAX_SAMPLE_RATE_HZ):
        wanted = f"whole number from {MIN_SAMPLE_RATE_HZ} to {MAX_SAMPLE_RATE_HZ}"
        raise ValueError(f"sample_rate_hz: {sample_rate_hz:g} is no {wanted}.")
    return Recording(wave[:, None], int(sample_rate_hz), "samples", is_truncated=False)


set_model(AudioClassifier())
