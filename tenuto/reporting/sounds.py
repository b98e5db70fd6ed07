"""Sound in a page: a clip as bytes that every browser plays, and its spectrogram as a picture."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Wave = npt.NDArray[np.float32]

MOST_SECONDS = 5.0
MOST_HZ = 24_000
"""Longer clips are cut and faster ones resampled: the page is for a first hearing, the data folder for the second."""

DYNAMIC_RANGE_DB = 70.0


@dataclass(frozen=True)
class AugmentedExample:
    """A training clip and one augmented copy of it, mono in [-1, 1] at one rate."""

    label: str
    source: str
    changes: str  # what was drawn, such as 'noise at 12 dB, room'
    original: Wave  # (n,)
    augmented: Wave  # (m,)
    sample_rate_hz: int


@dataclass(frozen=True)
class Sound:
    """Something to play: a data address, and how long it is."""

    address: str
    seconds: float
    is_cut: bool  # only the first MOST_SECONDS are here


@dataclass(frozen=True)
class Picture:
    """An augmented example as the page shows it: two spectrograms, two players."""

    label: str
    source: str
    changes: str
    top_khz: float
    panels: list[tuple[str, str, Sound]]  # caption, picture address, sound


def clip(path: Path) -> Sound:
    """The recording at `path`, mono; ClipError when it cannot be decoded."""
    from tenuto.sound import audio

    recording = audio.decode(path)
    return sound(audio.mono(recording.samples), recording.sample_rate_hz)


def sound(wave: Wave, rate_hz: int) -> Sound:
    """A mono wave (n,) in [-1, 1] as FLAC in a data address; what passes full scale is clipped."""
    import soundfile

    from tenuto.sound import audio

    seconds = len(wave) / rate_hz
    wave = wave[: int(MOST_SECONDS * rate_hz)]
    if rate_hz > MOST_HZ:
        wave, rate_hz = audio.resample(wave, rate_hz, MOST_HZ), MOST_HZ
    data = io.BytesIO()
    soundfile.write(data, wave, rate_hz, format="FLAC", subtype="PCM_16")
    return Sound(_address("audio/flac", data.getvalue()), seconds, seconds > MOST_SECONDS)


def picture(example: AugmentedExample) -> Picture:
    """The example with its spectrograms on the same time and level scales, so that they can be compared."""
    rate_hz = example.sample_rate_hz
    waves = {"Original": example.original, "Augmented": example.augmented}
    samples = int(min(max(len(wave) for wave in waves.values()), MOST_SECONDS * rate_hz))
    top = max(_levels(wave, samples).max() for wave in waves.values())
    panels = [
        (name, _address("image/png", spectrogram_png(wave, samples, top)), sound(wave, rate_hz))
        for name, wave in waves.items()
    ]
    return Picture(example.label, example.source, example.changes, rate_hz / 2000, panels)


def spectrogram_png(wave: Wave, samples: int, top_db: float) -> bytes:
    """A PNG of the first `samples`, low frequencies at the bottom, from `top_db` down by DYNAMIC_RANGE_DB."""
    from matplotlib.image import imsave

    data = io.BytesIO()
    imsave(
        data,
        _levels(wave, samples),
        cmap="magma",
        origin="lower",
        vmin=top_db - DYNAMIC_RANGE_DB,
        vmax=top_db,
        format="png",
    )
    return data.getvalue()


def _levels(wave: Wave, samples: int, window: int = 256, columns: int = 200) -> npt.NDArray[np.float64]:
    """(frequencies, columns) in dB; the wave is cut or filled with silence to `samples`."""
    fixed = np.zeros(max(samples, window + columns), dtype=np.float64)
    fixed[: min(len(wave), samples)] = wave[:samples]
    starts = np.linspace(0, len(fixed) - window, columns).astype(int)
    frames = fixed[starts[:, None] + np.arange(window)] * np.hanning(window)  # (columns, window)
    return 10 * np.log10(np.abs(np.fft.rfft(frames)) ** 2 + 1e-10).T


def _address(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
