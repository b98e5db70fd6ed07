"""Synthetic recordings for the tests of audio and ingest."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import soundfile

from tenuto.sound.audio import Wave

RATE_HZ = 16_000


def speechlike(seed: int, seconds: float = 0.6, rate_hz: int = RATE_HZ) -> Wave:
    """A voice-like sound (n,): a gliding pitch with harmonics under moving resonances, peak 0.5, faint noise."""
    rng = np.random.default_rng(seed)
    n = int(seconds * rate_hz)
    position = np.linspace(0, 1, n)
    knots = np.linspace(0, 1, 6)
    pitch_hz = np.interp(position, knots, rng.uniform(90, 220, 6))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / rate_hz
    centres_hz = [np.interp(position, knots, rng.uniform(low, high, 6)) for low, high in ((300, 900), (900, 2500))]
    wave = np.zeros(n)
    for harmonic in range(1, 30):
        frequency = harmonic * pitch_hz
        strength = sum(np.exp(-(((frequency - centre) / 200) ** 2)) for centre in centres_hz) + 0.01
        wave += strength * np.sin(harmonic * phase) * (frequency < 0.45 * rate_hz)
    wave *= np.interp(position, np.linspace(0, 1, 8), [0, *rng.uniform(0.3, 1, 6), 0])
    wave = 0.5 * wave / np.abs(wave).max() + 1e-4 * rng.standard_normal(n)
    return wave.astype(np.float32)


def coded(wave: Wave, rate_hz: int = RATE_HZ, file_format: str = "WAV", subtype: str | None = None, **options) -> bytes:
    """The bytes of an audio file that holds the wave, (n,) or (n, channels)."""
    file = io.BytesIO()
    soundfile.write(file, wave, rate_hz, format=file_format, subtype=subtype, **options)
    return file.getvalue()


def write(path: Path, wave: Wave, rate_hz: int = RATE_HZ, file_format: str = "WAV", subtype: str | None = None) -> Path:
    """Writes an audio file, its folders too; gives back its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(coded(wave, rate_hz, file_format, subtype))
    return path
