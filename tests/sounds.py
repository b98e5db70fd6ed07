"""Two sounds that fall together: a low tone and bursts of noise, in clips that have one, both or neither."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tenuto.sound import audio

RATE_HZ = 16_000
NAMES = ("noise", "tone")
LABELS = ("noise", "tone", "noise;tone", "")


def sound(label: str, rng: np.random.Generator) -> np.ndarray:
    """Half a second of the sounds in `label` over faint noise, (8000,) float32."""
    times = np.arange(RATE_HZ // 2) / RATE_HZ
    wave = 0.002 * rng.standard_normal(len(times))
    if "tone" in label:
        frequency_hz = rng.uniform(300, 500)
        wave += sum(0.2 / k * np.sin(2 * np.pi * k * frequency_hz * times) for k in (1, 2, 3))
    if "noise" in label:
        wave += 0.1 * rng.standard_normal(len(times)) * (np.sin(2 * np.pi * rng.uniform(6, 9) * times) > 0.3)
    return wave.astype(np.float32)


def write_sounds(folder: Path, count: int = 60) -> list[tuple[str, str]]:
    """WAV files in `folder`, a quarter of each of LABELS; their names and labels."""
    rng = np.random.default_rng(0)
    named = [(f"{index:03d}.wav", LABELS[index % 4]) for index in range(count)]
    for name, label in named:
        (folder / name).write_bytes(audio.encode_wav(sound(label, rng), RATE_HZ))
    return named
