"""How much of what the models hear survives added noise.

White noise is drawn once per clip, from the clip's identity, at the highest rate that any of the models asks for, and
mixed before the mixture is resampled for each model: all of them hear the same disturbance, today and next week.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tenuto import labels as texts
from tenuto.labels import LabelType
from tenuto.scoring import metrics

FloatArray = NDArray[np.float64]
Wave = NDArray[np.float32]


class Model(Protocol):
    """What is asked of a model under evaluation; `tenuto.learning.predictor.Predictor` is one."""

    @property
    def labels(self) -> Sequence[str]: ...

    @property
    def sample_rate_hz(self) -> int: ...

    @property
    def kind(self) -> LabelType: ...

    def predict(self, waves: Iterable[Wave], batch_size: int = ..., /) -> FloatArray: ...

    @property
    def thresholds(self) -> Mapping[str, float]: ...

    def decide(self, found: FloatArray, /) -> NDArray[np.bool_]: ...


def chosen(clips: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most `most` of the clips, those of the smallest identities: a random draw that does not change."""
    return clips.sort_values("clip_id").head(most)


def noise_for(clip_id: str, samples: int) -> Wave:
    """White noise of unit power, (samples,), always the same for the same clip."""
    rng = np.random.default_rng(int.from_bytes(clip_id.encode()))
    return rng.standard_normal(samples, dtype=np.float32)


def mixed(wave: Wave, noise: Wave, snr_db: float) -> Wave:
    """`wave` plus `noise` scaled to lie `snr_db` below the wave's mean power; silence stays silent."""
    power = float(np.mean(np.square(wave, dtype=np.float64)))
    noise_power = float(np.mean(np.square(noise, dtype=np.float64)))
    scale = np.sqrt(power / max(noise_power, 1e-20) / 10 ** (snr_db / 10))
    return (wave + np.float32(scale) * noise).astype(np.float32)


def under_noise(
    models: Mapping[str, Model],
    clips: pd.DataFrame,
    data: Path,
    snr_db: Sequence[float],
    batch_size: int,
    on_clips: Callable[[int], None] = lambda n: None,
) -> dict[str, dict[str, float]]:
    """Macro recall per model and noise level ('20 dB' ...), each in [0, 1]; `on_clips` hears of every chunk done."""
    answers: dict[str, dict[float, list[str]]] = {name: {level: [] for level in snr_db} for name in models}
    rate = max(model.sample_rate_hz for model in models.values())
    for start in range(0, len(clips), batch_size):
        chunk = clips.iloc[start : start + batch_size]
        for level, waves in _mixtures(chunk, data, rate, snr_db):
            for name, model in models.items():
                answers[name][level] += _heard(model, waves, rate, batch_size)
        on_clips(len(chunk))
    return {
        name: {
            f"{level:g} dB": macro_recall(clips["label"].tolist(), said, models[name].kind)
            for level, said in levels.items()
        }
        for name, levels in answers.items()
    }


def named(model: Model, probabilities: FloatArray) -> list[str]:
    """What the model decides about clips of these probabilities (clips, its classes), as text for each clip."""
    return [texts.joined(np.array(model.labels)[row].tolist()) for row in model.decide(probabilities)]


def macro_recall(truth: Sequence[str], said: Sequence[str], kind: LabelType) -> float:
    """Mean recall of the classes that occur in `truth`, of labels as text, in [0, 1]."""
    names = texts.classes([*truth, *said], kind)
    return metrics.macro_recall(metrics.coded(truth, names, kind), metrics.coded(said, names, kind))


def _mixtures(chunk: pd.DataFrame, data: Path, rate: int, snr_db: Sequence[float]) -> list[tuple[float, list[Wave]]]:
    from tenuto.sound.audio import load_waveform

    waves = [load_waveform(data / path, rate) for path in chunk["path"]]
    noises = [noise_for(clip, len(wave)) for clip, wave in zip(chunk["clip_id"], waves, strict=True)]
    return [(level, [mixed(w, n, level) for w, n in zip(waves, noises, strict=True)]) for level in snr_db]


def _heard(model: Model, waves: Sequence[Wave], rate: int, batch_size: int) -> list[str]:
    from tenuto.sound.audio import resample

    at_its_rate = [resample(wave, rate, model.sample_rate_hz) for wave in waves]
    return named(model, model.predict(at_its_rate, batch_size))
