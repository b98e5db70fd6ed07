"""The starter set: spoken digits by synthetic voices, made by espeak-ng.

A small telephone-band data set whose truth is known: ten digits, six accents of English, three recording conditions.
One digit and one accent are deliberately rare in what is trained on, and common enough in the voices to hold out that
their recall can be measured. The set is committed as `data.dvc`; this module makes it again. All that is random is
drawn first (`plan`), then spoken and recorded clip by clip (`make`), because espeak-ng repeats itself only when the
same things are said in the same order.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from tenuto.dataset.espeak import Espeak
from tenuto.errors import SourceError

SAMPLE_RATE_HZ = 8000
LABELS = tuple("0123456789")

_ENGLISH = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_RUSSIAN = ("зироу", "уан", "ту", "сри", "фор", "файв", "сикс", "сэвен", "эйт", "найн")

ACCENTS = {
    "american": ("en-us", _ENGLISH),
    "received": ("en-gb-x-rp", _ENGLISH),
    "scottish": ("en-gb-scotland", _ENGLISH),
    "lancastrian": ("en-gb-x-gbclan", _ENGLISH),
    "caribbean": ("en-029", _ENGLISH),
    "russian": ("ru", _RUSSIAN),  # English words as a Russian reader sounds them out
}
"""Accent to espeak-ng voice, and the digits 0 to 9 as that voice has to read them."""

RARE_LABEL = "6"
RARE_ACCENT = "russian"

_TRAINING_VARIANTS = ("m1", "m8", "f2", "f4")
_RARE_ACCENT_VARIANTS = ("m1", "f2")
_HELD_OUT_VARIANTS = ("m3", "f3")
HELD_OUT_SPEAKERS = tuple(f"{accent}-{variant}" for accent in ACCENTS for variant in _HELD_OUT_VARIANTS)
"""The test set by name: two voices of every accent."""

_TRAINING_TAKES = 4
_RARE_ACCENT_TAKES = 1
_RARE_LABEL_TRAINING_CLIPS = 10
_HELD_OUT_TAKES = 3
_RARE_LABEL_HELD_OUT_TAKES = 6

CONDITIONS = {"clean": 0.4, "noise": 0.3, "room": 0.3}
"""Recording conditions and their shares."""

_SEED = 20
_SPEECH_ABOVE = 0.02  # of the loudest sample; below is espeak-ng's silence around the word
_ROOM_LEVEL = 0.9  # of the reflections, where the direct sound is 1

Wave = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Utterance:
    """One clip to be made: what is said by whom, how, and what happens to the recording."""

    accent: str
    variant: str
    label: str
    take: int
    condition: str
    words_per_minute: int
    pitch: int
    pitch_range: int
    margin_seconds: float
    tilt_db: float
    snr_db: float
    reverberation_seconds: float
    peak_dbfs: float
    seed: int

    @property
    def speaker(self) -> str:
        return f"{self.accent}-{self.variant}"

    @property
    def path(self) -> str:
        """Where the clip goes below the set's folder."""
        return f"{self.speaker}/{self.label}_{self.take}.flac"


def make(folder: Path, *, seed: int = _SEED, on_progress: Callable[[int, int], None] | None = None) -> Path:
    """The table (path, label, speaker, accent, condition) of the clips written below `folder` as 8 kHz FLAC.

    `on_progress` is told how many of how many clips are made. Raises SourceError when espeak-ng is not installed or
    `folder` already holds files.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise SourceError(f"{folder} is not empty; the starter set is written into a new folder.")
    espeak = Espeak()
    utterances = plan(np.random.default_rng(seed))
    for number, utterance in enumerate(utterances, 1):
        path = folder / utterance.path
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, record(speak(espeak, utterance), utterance), SAMPLE_RATE_HZ, subtype="PCM_16")
        if on_progress is not None:
            on_progress(number, len(utterances))
    return _write_table(utterances, folder / "labels.csv")


def plan(rng: np.random.Generator) -> list[Utterance]:
    """The utterances of the set, in the order in which they have to be made."""
    spoken = [*_training(rng), *_held_out()]
    return [_drawn(*words, rng=rng) for words in spoken]


def _training(rng: np.random.Generator) -> Iterator[tuple[str, str, str, int]]:
    """(accent, variant, label, take) of what the voices to train on say; ten of them say the rare digit, once each."""
    common = [(accent, variant) for accent in ACCENTS if accent != RARE_ACCENT for variant in _TRAINING_VARIANTS]
    sayers = {common[i] for i in rng.choice(len(common), _RARE_LABEL_TRAINING_CLIPS, replace=False)}
    for accent, variant in [*common, *((RARE_ACCENT, variant) for variant in _RARE_ACCENT_VARIANTS)]:
        usual = _RARE_ACCENT_TAKES if accent == RARE_ACCENT else _TRAINING_TAKES
        for label in LABELS:
            takes = usual if label != RARE_LABEL else int((accent, variant) in sayers)
            yield from ((accent, variant, label, take) for take in range(takes))


def _held_out() -> Iterator[tuple[str, str, str, int]]:
    for accent in ACCENTS:
        for variant in _HELD_OUT_VARIANTS:
            for label in LABELS:
                takes = _RARE_LABEL_HELD_OUT_TAKES if label == RARE_LABEL else _HELD_OUT_TAKES
                yield from ((accent, variant, label, take) for take in range(takes))


def _drawn(accent: str, variant: str, label: str, take: int, *, rng: np.random.Generator) -> Utterance:
    condition = str(rng.choice(list(CONDITIONS), p=list(CONDITIONS.values())))
    if label == RARE_LABEL and variant not in _HELD_OUT_VARIANTS:
        condition = "clean"  # so the rare digit lacks variety too, which augmentation can give it
    return Utterance(
        accent=accent,
        variant=variant,
        label=label,
        take=take,
        condition=condition,
        words_per_minute=int(rng.integers(110, 260)),
        pitch=int(rng.integers(15, 85)),
        pitch_range=int(rng.integers(20, 80)),
        margin_seconds=float(rng.uniform(0.0, 0.08)),
        tilt_db=float(rng.uniform(-8.0, 8.0)),
        snr_db=float(rng.uniform(0.0, 20.0)),
        reverberation_seconds=float(rng.uniform(0.15, 0.5)),
        peak_dbfs=float(rng.uniform(-18.0, -1.0)),
        seed=int(rng.integers(1, 2**31 - 1)),
    )


def speak(espeak: Espeak, utterance: Utterance) -> Wave:
    """The word alone at 8 kHz, (n,) in [-1, 1], with the utterance's margin of silence on both sides."""
    voice, words = ACCENTS[utterance.accent]
    wave = espeak.say(
        words[int(utterance.label)],
        voice=f"{voice}+{utterance.variant}",
        words_per_minute=utterance.words_per_minute,
        pitch=utterance.pitch,
        pitch_range=utterance.pitch_range,
        seed=utterance.seed,
    )
    loud = np.flatnonzero(np.abs(wave) > _SPEECH_ABOVE * np.abs(wave).max())
    word = soxr.resample(wave[loud[0] : loud[-1] + 1], espeak.sample_rate_hz, SAMPLE_RATE_HZ)
    return np.pad(word, int(utterance.margin_seconds * SAMPLE_RATE_HZ))


def record(wave: Wave, utterance: Utterance) -> Wave:
    """The spoken word as the microphone of its condition hears it, its loudest sample at the utterance's peak."""
    rng = np.random.default_rng(utterance.seed)
    heard = tilted(wave, utterance.tilt_db)
    if utterance.condition == "room":
        heard = np.convolve(heard, room(utterance.reverberation_seconds, rng))
    if utterance.condition == "noise":
        noise = tilted(rng.standard_normal(len(heard)), -abs(utterance.tilt_db))
        heard = heard + noise * _rms(heard) / _rms(noise) * 10 ** (-utterance.snr_db / 20)
    return heard * (10 ** (utterance.peak_dbfs / 20) / np.abs(heard).max())


def tilted(wave: Wave, tilt_db: float) -> Wave:
    """The wave at its old level, with its spectrum rising by `tilt_db` from 0 Hz to the highest frequency."""
    spectrum = np.fft.rfft(wave)
    bent = np.fft.irfft(spectrum * 10 ** (np.linspace(0.0, tilt_db, len(spectrum)) / 20), len(wave))
    return bent * (_rms(wave) / _rms(bent))


def room(reverberation_seconds: float, rng: np.random.Generator) -> Wave:
    """An impulse response: the direct sound, then noise that decays by 60 dB within `reverberation_seconds`."""
    time_seconds = np.arange(round(reverberation_seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    tail = rng.standard_normal(len(time_seconds)) * 10 ** (-3 * time_seconds / reverberation_seconds)
    tail[0] = 0.0
    tail *= _ROOM_LEVEL / np.linalg.norm(tail)
    tail[0] = 1.0
    return tail


def _rms(wave: Wave) -> float:
    return float(np.sqrt(np.mean(wave**2)))


def _write_table(utterances: list[Utterance], path: Path) -> Path:
    columns = ("path", "label", "speaker", "accent", "condition")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([getattr(utterance, column) for column in columns] for utterance in utterances)
    return path
