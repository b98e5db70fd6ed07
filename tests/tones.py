"""Clips that are pure tones and a model that hears tones: an evaluation without a trained network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from tenuto.labels import LabelType

TONES_HZ = {"low": 300.0, "middle": 700.0, "high": 1500.0}
RATE_HZ = 8000


@dataclass
class ToneModel:
    """Hears the loudest of the tones it knows, or with kind "many" all of them; `deaf_to` is never answered."""

    labels: Sequence[str] = tuple(TONES_HZ)
    sample_rate_hz: int = RATE_HZ
    deaf_to: str | None = None
    kind: LabelType = "one"

    @property
    def thresholds(self) -> dict[str, float]:
        return dict.fromkeys(self.labels, 0.5) if self.kind == "many" else {}

    def decide(self, found: np.ndarray) -> np.ndarray:
        if self.kind == "many":
            return np.asarray(found >= 0.5)
        return np.asarray(found.argmax(axis=1)[:, None] == np.arange(found.shape[1]))

    def predict(self, waves: Sequence[np.ndarray], batch_size: int = 32) -> np.ndarray:
        levels = np.array([[self._level(wave, label) for label in self.labels] for wave in waves])
        return levels / (levels + 0.02) if self.kind == "many" else levels / levels.sum(axis=1, keepdims=True)

    def _level(self, wave: np.ndarray, label: str) -> float:
        seconds = np.arange(len(wave)) / self.sample_rate_hz
        heard = abs(np.exp(-2j * np.pi * TONES_HZ[label] * seconds) @ wave) / len(wave)
        return 1e-9 if label == self.deaf_to else float(heard) + 1e-6


def write_clips(data: Path, per_cell: int, speakers: Sequence[str] = ("ann", "ben", "cid")) -> pd.DataFrame:
    """A clips table of tones, `per_cell` of each label by each speaker, with the files under `data`."""
    rows = []
    for speaker in speakers:
        for label, hz in TONES_HZ.items():
            for take in range(per_cell):
                clip_id = f"{len(rows) * 7919 % 1000:03d}{speaker}{label}{take}".ljust(32, "0")
                wave = 0.1 * np.sin(2 * np.pi * hz * np.arange(RATE_HZ // 4) / RATE_HZ + take)
                soundfile.write(data / f"{clip_id}.wav", wave, RATE_HZ)
                rows.append(
                    {
                        "clip_id": clip_id,
                        "path": f"{clip_id}.wav",
                        "label": label,
                        "family": clip_id,
                        "group_speaker": speaker,
                        "group_site": None,
                        "split": "test",
                    }
                )
    return pd.DataFrame(rows).sort_values("clip_id", ignore_index=True)
