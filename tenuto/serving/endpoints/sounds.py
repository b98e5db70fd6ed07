"""One clip of a request as a model hears it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tenuto.errors import ClipError
from tenuto.learning.framing import Framing, Wave
from tenuto.sound.audio import Recording, check_samples, decode_bytes, level_dbfs, waveform
from tenuto.tracing import kept_audio

_MOST_SAMPLES = 64_000_000
"""Of all channels together, 256 MB: a few kilobytes of FLAC may stand for minutes of eight channels."""
_LOUDEST_SAMPLE = 4.0
"""Of samples that are sent as numbers: what filters add to full scale stays below, integers do not."""


@dataclass(frozen=True)
class Decoded:
    """A clip that a model can hear."""

    wave: Wave
    """(n,) at the framing's sample rate: what the model hears of the clip, and not what it cuts off."""
    framing: Framing
    duration_seconds: float
    """Of the recording."""
    level_dbfs: float
    """Root mean square of the recording."""
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
    """The clip as a model of that framing hears it; raises ClipError when it cannot be used.

    With `max_seconds` it is what somebody sent: samples are checked as files always are.
    """
    recording = sound
    if isinstance(recording, bytes):
        recording = decode_bytes(recording, max_duration_seconds=max_seconds, max_samples=_MOST_SAMPLES)
    elif max_seconds is not None:
        _check(recording, max_seconds)
    wave = waveform(recording, framing.sample_rate_hz)
    # a copy, so that clips that wait do not keep the minutes around it in memory
    heard = framing.fit(wave, framing.longest).copy() if len(wave) > framing.longest else wave
    return Decoded(heard, framing, recording.duration_seconds, level_dbfs(wave), sound)


def _check(recording: Recording, max_seconds: float) -> None:
    """What decoding checks of a file, and that samples are not meant as integers."""
    if not len(recording.samples):
        raise ClipError("no-samples", "the list is empty")
    if recording.duration_seconds > max_seconds:
        raise ClipError("too-long", f"{recording.duration_seconds:.1f} s, at most {max_seconds:g} s wanted; cut it up")
    check_samples(recording.samples)
    peak = float(np.abs(recording.samples).max())
    if peak > _LOUDEST_SAMPLE:
        detail = f"a sample is {peak:g}, where full scale is 1; divide 16-bit integers by 32768"
        raise ClipError("not-full-scale", detail)
