"""The model as MLflow serves it: encoded audio in, label (or labels) and the probability of every class out.

MLflow stores this file with each registered version and runs it where the model is served, beside a copy of the
package `tenuto`; neither Prefect nor DVC nor Great Expectations is needed there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

# not only for the type checker: MLflow reads the type hints of `predict`, and warns when it cannot
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class AudioClassifier(PythonModel):
    """Classifies recordings given as the bytes of a wav, flac, ogg or mp3 file."""

    def load_context(self, context: PythonModelContext) -> None:
        """Loads the checkpoint that the version was registered with."""
        from tenuto.learning.predictor import Predictor

        self._predictor = Predictor.load(Path(context.artifacts["checkpoint"]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """One row per row of `model_input`, whose column `audio` holds encoded audio.

        Gives back `label`, its `probability`, and one column `p_<label>` per class, in [0, 1]. A model that gives
        clips several labels has `labels` ('dog;rain', '' for none) in place of the first two.
        """
        from tenuto.labels import joined
        from tenuto.sound import audio

        predictor = self._predictor
        recordings = [audio.decode_bytes(bytes(encoded)) for encoded in model_input["audio"]]
        probabilities = predictor.predict([audio.waveform(r, predictor.sample_rate_hz) for r in recordings])
        columns = pd.DataFrame(probabilities, columns=[f"p_{label}" for label in predictor.labels])
        decided = predictor.decide(probabilities)
        names = [joined(label for label, is_it in zip(predictor.labels, row, strict=True) if is_it) for row in decided]
        if predictor.kind == "many":
            columns.insert(0, "labels", names)
        else:
            columns.insert(0, "label", names)
            columns.insert(1, "probability", (probabilities * decided).sum(axis=1))
        return columns


set_model(AudioClassifier())
