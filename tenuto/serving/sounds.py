"""One clip of a request as a model hears it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tenuto.learning.framing import Framing, Wave
from tenuto.sound.audio import decode_bytes, waveform
from tenuto.tracing import kept_audio

_MOST_SAMPLES = 64_000_000
"""Of all channels together, 256 MB: a few kilobytes of FLAC may stand for minutes of eight channels."""


@dataclass(frozen=True)
class Decoded:
    """A clip that a model can hear."""

    wave: Wave
    """(n,) at the framing's sample rate: what the model hears of the clip, and not what it cuts off."""
    framing: Framing
    duration_seconds: float
    """Of the recording."""
    level_dbfs: float
    """Root mean square of the recording; -inf of digital silence."""
    sound: kept_audio.Sound
    """As it was sent: the file, or the samples."""

    def at(self, framing: Framing) -> Wave:
        """What another model hears of it, made from the recording where that is something else."""
        return self.wave if self._is_heard_alike(framing) else decoded(self.sound, framing).wave

    def needed_at(self, framing: Framing) -> Decoded:
        """The clip with no more than `at` needs: without the recording where both models hear the same of it."""
        return replace(self, sound=b"") if self._is_heard_alike(framing) else self

    @property
    def size_bytes(self) -> int:
        """What it holds in memory."""
        return self.wave.nbytes + kept_audio.size_bytes(self.sound)

    def _is_heard_alike(self, framing: Framing) -> bool:
        own = self.framing
        return (framing.sample_rate_hz, framing.longest) == (own.sample_rate_hz, own.longest)


def decoded(sound: kept_audio.Sound, framing: Framing, *, max_seconds: float | None = None) -> Decoded:
    """The clip as a model of that framing hears it; raises ClipError when it cannot be used."""
    recording = sound
    if isinstance(recording, bytes):
        recording = decode_bytes(recording, max_duration_seconds=max_seconds, max_samples=_MOST_SAMPLES)
    wave = waveform(recording, framing.sample_rate_hz)
    # a copy, so that clips that wait do not keep the minutes around it in memory
    heard = framing.fit(wave, framing.longest).copy() if len(wave) > framing.longest else wave
    return Decoded(heard, framing, recording.duration_seconds, level_dbfs(wave), sound)


def level_dbfs(wave: Wave) -> float:
    """The root mean square of (n,) samples in decibels: 0 of a square wave at full scale, -inf of digital silence."""
    power = float(np.mean(np.square(wave, dtype=np.float64))) if len(wave) else 0.0
    return 10 * float(np.log10(power)) if power > 0 else float("-inf")
