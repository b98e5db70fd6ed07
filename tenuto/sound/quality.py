"""Facts about how a recording sounds, measured on its decoded samples.

Nothing is judged here: what is too short, too long or too silent is a setting, and which facts stop a run is a matter
of the expectations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.signal import windows

from tenuto.sound import audio
from tenuto.sound.audio import FLOOR_DB, Recording, Wave

_STANDARD_RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000)
_SPECTRUM_SAMPLES = 1024
_CONTENT_BELOW_PEAK_DB = 75.0
_CLIFF_DB = 20.0
_MIN_PLATEAU_SAMPLES = 3
_MIN_CLIPPED_PEAK = 0.01


@dataclass(frozen=True)
class Quality:
    """Quality facts of one recording; levels in dB relative to full scale."""

    peak_dbfs: float
    level_dbfs: float
    swing_dbfs: float
    snr_db: float
    clipped_fraction: float
    dc_offset: float
    bandwidth_hz: float
    has_dead_channel: bool
    is_fake_bandwidth: bool


def measure(recording: Recording) -> Quality:
    """All quality facts of a recording; `swing_dbfs` is its peak without the DC offset."""
    samples = recording.samples
    offsets = samples.mean(axis=0, dtype=np.float64)
    live = audio.live_channels(samples)
    wave = audio.mono(samples)
    bandwidth_hz, is_fake = bandwidth(wave, recording.sample_rate_hz)
    return Quality(
        peak_dbfs=_decibels(float(np.abs(samples).max())),
        level_dbfs=audio.level_dbfs(samples),
        swing_dbfs=_decibels(float(np.abs(samples - offsets).max())),
        snr_db=snr_db(wave, recording.sample_rate_hz),
        clipped_fraction=max(clipped_fraction(channel) for channel in samples.T),
        dc_offset=float(offsets[np.abs(offsets).argmax()]),
        bandwidth_hz=bandwidth_hz,
        has_dead_channel=bool(recording.channels > 1 and not live.all()),
        is_fake_bandwidth=is_fake,
    )


def snr_db(wave: Wave, sample_rate_hz: int) -> float:
    """An estimate of the signal-to-noise ratio of an (n,) wave, in [0, 100] dB.

    The quietest tenth of 20 ms frames is taken for noise, the loudest twentieth for signal and noise. A sound that
    never pauses has none to compare with and gets 0.
    """
    frame = max(1, int(0.02 * sample_rate_hz))
    count = len(wave) // frame
    if count < 2:
        return 0.0
    frames = wave[: count * frame].reshape(count, frame)
    noise, loud = np.quantile(frames.var(axis=1, dtype=np.float64), [0.1, 0.95])
    if noise <= 0:
        return 100.0 if loud > 0 else 0.0
    ratio = max((loud - noise) / noise, 1e-10)
    return float(np.clip(10 * np.log10(ratio), 0, 100))


def clipped_fraction(wave: Wave) -> float:
    """The share of an (n,) wave's samples that lie on a flat top: at least 3 equal extremes with a steep flank.

    Works also when the recording was turned down after it was clipped. The flank tells a flat top from the slow
    crest of a low tone, which rounding makes flat.
    """
    peak = float(np.abs(wave).max())
    if len(wave) < _MIN_PLATEAU_SAMPLES + 2 or peak < _MIN_CLIPPED_PEAK:
        return 0.0
    steps = np.abs(np.diff(wave))
    rounding = float(steps[steps > 0].min(initial=np.inf))
    flank = max(0.005 * peak, 1.5 * rounding) if np.isfinite(rounding) else np.inf
    return (_flat_samples(wave, flank) + _flat_samples(-wave, flank)) / len(wave)


def _flat_samples(wave: Wave, flank: float) -> int:
    top = wave.max()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], wave >= top - 1e-6, [False]]).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    padded = np.concatenate([[top], wave, [top]])
    fall = np.maximum(top - padded[starts], top - padded[ends + 1])
    lengths = ends - starts
    return int(lengths[(lengths >= _MIN_PLATEAU_SAMPLES) & (fall > flank)].sum())


def bandwidth(wave: Wave, sample_rate_hz: int) -> tuple[float, bool]:
    """The highest frequency with real content in Hz, and whether the sample rate promises more than was recorded.

    Real content lies within 75 dB of the strongest spectral line. The promise is false when the spectrum falls by at
    least 20 dB around half of a lower standard rate and stays down: an 8 kHz recording stored at 44.1 kHz.
    """
    frequencies, level_db = _spectrum(wave, sample_rate_hz)
    if not len(level_db) or level_db.max() <= FLOOR_DB:
        return 0.0, False
    loud = np.flatnonzero(level_db > level_db.max() - _CONTENT_BELOW_PEAK_DB)
    highest_hz = float(frequencies[loud[-1]])
    for rate in _STANDARD_RATES_HZ:
        # 32 kHz in 44.1 kHz would be how MP3 sounds, not how a recording was made
        if rate <= 0.6 * sample_rate_hz and _has_cliff(frequencies, level_db, rate / 2):
            return min(highest_hz, rate / 2), True
    return highest_hz, False


def _spectrum(wave: Wave, sample_rate_hz: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Frequencies in Hz and mean power in dB, from half-overlapping windows; empty for fewer than 16 samples."""
    length = min(len(wave), _SPECTRUM_SAMPLES)
    if length < 16:
        return np.empty(0), np.empty(0)
    frames = np.lib.stride_tricks.sliding_window_view(wave, length)[:: length // 2]
    power = np.square(np.abs(np.fft.rfft(frames * _window(length), axis=1)), dtype=np.float64).mean(axis=0)
    level_db = 10 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10)))
    return np.asarray(np.fft.rfftfreq(length, 1 / sample_rate_hz), dtype=np.float64), level_db


@lru_cache(maxsize=8)
def _window(length: int) -> npt.NDArray[np.float32]:
    # the side lobes of a Hann window would hide a cliff under a loud low tone
    return np.asarray(windows.blackmanharris(length), dtype=np.float32)


def _has_cliff(frequencies: npt.NDArray[np.float64], level_db: npt.NDArray[np.float64], edge_hz: float) -> bool:
    below = level_db[(frequencies > 0.75 * edge_hz) & (frequencies < 0.95 * edge_hz)]
    above = level_db[frequencies > 1.1 * edge_hz]
    if not len(below) or not len(above):
        return False
    return bool(np.median(below) - above.max() >= _CLIFF_DB)


def _decibels(amplitude: float) -> float:
    return float(max(20 * np.log10(max(amplitude, 1e-10)), FLOOR_DB))
