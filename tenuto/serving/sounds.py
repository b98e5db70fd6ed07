"""One clip of a request as a model hears it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tenuto.learning.framing import Wave
from tenuto.sound.audio import decode_bytes, waveform
from tenuto.tracing.kept_audio import Sound

_MOST_SAMPLES = 64_000_000
"""Of all channels together, 256 MB: a few kilobytes of FLAC may stand for minutes of eight channels."""


@dataclass(frozen=True)
class Decoded:
    """A clip that a model can hear."""

    wave: Wave
    """(n,) at `sample_rate_hz`."""
    sample_rate_hz: int
    duration_seconds: float
    """Of the recording."""
    level_dbfs: float
    """Root mean square of the wave; -inf of digital silence."""
    sound: Sound
    """As it was sent: the file, or the samples."""

    def at(self, sample_rate_hz: int) -> Wave:
        """The wave at another model's rate, made from the recording."""
        if sample_rate_hz == self.sample_rate_hz:
            return self.wave
        return decoded(self.sound, sample_rate_hz).wave


def decoded(sound: Sound, sample_rate_hz: int, *, max_seconds: float | None = None) -> Decoded:
    """The clip as a model hears it that wants `sample_rate_hz`; raises ClipError when it cannot be used."""
    recording = sound
    if isinstance(recording, bytes):
        recording = decode_bytes(recording, max_duration_seconds=max_seconds, max_samples=_MOST_SAMPLES)
    wave = waveform(recording, sample_rate_hz)
    return Decoded(wave, sample_rate_hz, recording.duration_seconds, level_dbfs(wave), sound)


def level_dbfs(wave: Wave) -> float:
    """The root mean square of (n,) samples in decibels: 0 of a square wave at full scale, -inf of digital silence."""
    power = float(np.mean(np.square(wave, dtype=np.float64))) if len(wave) else 0.0
    return 10 * float(np.log10(power)) if power > 0 else float("-inf")
