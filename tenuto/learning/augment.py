"""Changed copies of training clips: what is drawn (a table of numbers), and how it is applied to a wave.

Drawing and applying are apart: the same table gives the same audio, so a copy can be cached, shown in the report and
made again. Copies are made of training clips only, and belong to the clip that they were made of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tenuto import labels
from tenuto.labels import LabelType
from tenuto.records import GROUP_PREFIX
from tenuto.settings import AugmentSettings

Wave = npt.NDArray[np.float32]

DRAWN = (
    "noise_seed",
    "stretch_rate",
    "pitch_semitones",
    "shift_seconds",
    "room_seconds",
    "band_limit_hz",
    "gain_db",
    "noise_snr_db",
)
"""Columns of a table of draws, in the order in which they are applied; NaN is 'leave it'."""

_ROOM_SECONDS = (0.1, 0.6)
_BAND_LIMIT_HZ = (1500.0, 6000.0)
_MAX_GROUP_VALUES = 20
RARE_SHARE = 0.5
"""A value of a group is rare when it has fewer clips than this share of the median."""


def draw(count: int, settings: AugmentSettings, rng: np.random.Generator) -> pd.DataFrame:
    """`count` independent draws, one a row, with the columns DRAWN."""
    return pd.DataFrame([_draw(settings, rng) for _ in range(count)], columns=list(DRAWN))


def plan(
    clips: pd.DataFrame, settings: AugmentSettings, rng: np.random.Generator, kind: LabelType = "one"
) -> pd.DataFrame:
    """The copies that fill up rare classes and groups of the training clips among `clips`.

    One row per copy: the columns of its clip, `copy` (from 1), `reason` (such as 'label=seven') and the columns DRAWN.
    A class is filled up to `settings.fill` of the largest one. Then the values of each group column that the training
    clips share with the others (filling speakers whom no other split has would help nobody) are filled up to that share
    of the column's median, when they have less than half of the median. A copy is drawn from its clip and number alone,
    so clips that are added later leave it as it is. With several labels a clip the labels are filled one after another,
    the rarest first, up to what the largest has without copies; a copy counts for all labels of its clip.
    """
    base = int(rng.integers(2**62))
    train = clips[clips["split"] == "train"].reset_index(drop=True)
    turns = train["clip_id"].map(lambda clip_id: _number(f"{base} {clip_id}"))
    chosen = pd.DataFrame({"position": pd.Series(dtype=int), "reason": pd.Series(dtype=str)})
    columns = ["label", *shared_groups(clips)]
    if kind == "many":
        chosen = _filled_labels(train["label"], turns, settings)
        columns.remove("label")
    for column in columns:
        wanted = _wanted(_counts(train[column], chosen["position"]), settings.fill, is_group=column != "label")
        more = [
            (position, f"{column.removeprefix(GROUP_PREFIX)}={value}")
            for value, members in sorted(turns.groupby(train[column]))
            for position in _repeated(members, wanted.get(value, 0), settings.max_copies)
        ]
        chosen = pd.concat([chosen, pd.DataFrame(more, columns=chosen.columns)], ignore_index=True)
    copies = train.iloc[chosen["position"].astype(int)].reset_index(drop=True)
    copies["copy"] = copies.groupby("clip_id").cumcount() + 1
    copies["reason"] = chosen["reason"]
    draws = [
        _draw(settings, np.random.default_rng([base, _number(f"{row.clip_id} {row.copy}")]))
        for row in copies.itertuples()
    ]
    return pd.concat([copies, pd.DataFrame(draws, columns=list(DRAWN))], axis=1)


def draw_hash(drawn: Mapping[Any, Any]) -> str:
    """16 hex digits, the same for the same draw."""
    text = ",".join(f"{name}={float(drawn[name])!r}" for name in DRAWN)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def apply(wave: Wave, sample_rate_hz: int, drawn: Mapping[Any, Any]) -> Wave:
    """The (n,) wave changed as `drawn` says (columns DRAWN); its length changes with `stretch_rate` only."""
    noise = np.random.default_rng(int(drawn["noise_seed"]))
    steps = {
        "stretch_rate": _stretched,
        "pitch_semitones": _pitched,
        "shift_seconds": _shifted,
        "room_seconds": _in_room,
        "band_limit_hz": _band_limited,
        "gain_db": _louder,
        "noise_snr_db": _noisy,
    }
    for name, step in steps.items():
        if not np.isnan(drawn[name]):
            wave = step(wave, sample_rate_hz, float(drawn[name]), noise)
    peak = float(np.abs(wave).max(initial=0))
    return (wave / peak if peak > 1 else wave).astype(np.float32)


def shared_groups(clips: pd.DataFrame) -> list[str]:
    """The group columns of which the training clips share values with the other splits: accents, not speakers."""
    train, others = clips[clips["split"] == "train"], clips[clips["split"].isin(["validation", "test"])]
    columns = [str(column) for column in clips.columns if str(column).startswith(GROUP_PREFIX)]
    return [
        column
        for column in columns
        if 2 <= train[column].nunique() <= _MAX_GROUP_VALUES and train[column].isin(others[column].dropna()).any()
    ]


def _filled_labels(label: pd.Series[str], turns: pd.Series[Any], settings: AugmentSettings) -> pd.DataFrame:
    """Positions to copy, and why, that fill up every label of clips that have several."""
    names = labels.classes(label, "many")
    has = labels.matrix(label.to_numpy(), names)
    counts = has.sum(axis=0)
    target = round(settings.fill * counts.max(initial=0))
    chosen: list[tuple[int, str]] = []
    for place in np.argsort(counts, kind="stable"):
        more = _repeated(turns[has[:, place]], target - int(counts[place]), settings.max_copies)
        counts = counts + has[more].sum(axis=0)
        chosen += [(position, f"label={names[place]}") for position in more]
    return pd.DataFrame(chosen, columns=["position", "reason"])


def _counts(values: pd.Series[Any], copied: pd.Series[Any]) -> pd.Series[Any]:
    """Clips per value, the copies of those at the positions `copied` included."""
    return pd.concat([values, values.iloc[copied.astype(int)]]).value_counts()


def _wanted(counts: pd.Series[Any], fill: float, *, is_group: bool) -> dict[Any, int]:
    """How many copies each value lacks."""
    if is_group:
        return {
            value: round(fill * counts.median() - n) for value, n in counts.items() if n < RARE_SHARE * counts.median()
        }
    return {value: round(fill * counts.max() - n) for value, n in counts.items()}


def _repeated(turns: pd.Series[Any], count: int, max_copies: int) -> list[int]:
    """`count` positions out of the index of `turns`, in the order of its values, over and over."""
    order = [int(position) for position in turns.sort_values().index]
    count = max(0, min(count, max_copies * len(order)))
    return (order * -(-count // len(order)))[:count]


def _draw(settings: AugmentSettings, rng: np.random.Generator) -> dict[str, float]:
    octaves = float(np.log2(1 + settings.max_stretch))
    low_hz, high_hz = _BAND_LIMIT_HZ
    # every value is drawn whether it is used or not: a changed probability leaves the other draws as they are
    chances = {
        "stretch_rate": (settings.stretch, 2 ** rng.uniform(-octaves, octaves)),
        "pitch_semitones": (settings.pitch, rng.uniform(-1, 1) * settings.max_pitch_semitones),
        "shift_seconds": (settings.shift, rng.uniform(-1, 1) * settings.max_shift_seconds),
        "room_seconds": (settings.room, rng.uniform(*_ROOM_SECONDS)),
        "band_limit_hz": (settings.band_limit, low_hz * (high_hz / low_hz) ** rng.random()),
        "gain_db": (settings.gain, rng.uniform(-1, 1) * settings.max_gain_db),
        "noise_snr_db": (settings.noise, rng.uniform(settings.min_snr_db, settings.max_snr_db)),
    }
    drawn = {name: value if rng.random() < probability else np.nan for name, (probability, value) in chances.items()}
    return {"noise_seed": float(rng.integers(2**31))} | drawn


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _stretched(wave: Wave, rate_hz: int, rate: float, _: np.random.Generator) -> Wave:
    from audiomentations import TimeStretch

    return _transformed(TimeStretch(rate, rate, leave_length_unchanged=False, p=1), wave, rate_hz, rate=rate)


def _pitched(wave: Wave, rate_hz: int, semitones: float, _: np.random.Generator) -> Wave:
    from audiomentations import PitchShift

    return _transformed(PitchShift(semitones, semitones, p=1), wave, rate_hz, num_semitones=semitones)


def _shifted(wave: Wave, rate_hz: int, seconds: float, _: np.random.Generator) -> Wave:
    from audiomentations import Shift

    shift = Shift(seconds, seconds, shift_unit="seconds", rollover=False, p=1)
    return _transformed(shift, wave, rate_hz, shift_amount=seconds)


def _band_limited(wave: Wave, rate_hz: int, cutoff_hz: float, _: np.random.Generator) -> Wave:
    from audiomentations import LowPassFilter

    if cutoff_hz >= rate_hz / 2:  # nothing lies above it
        return wave
    low_pass = LowPassFilter(cutoff_hz, cutoff_hz, min_rolloff=24, max_rolloff=24, p=1)
    return _transformed(low_pass, wave, rate_hz, cutoff_freq=cutoff_hz, rolloff=24)


def _louder(wave: Wave, rate_hz: int, gain_db: float, _: np.random.Generator) -> Wave:
    from audiomentations import Gain

    return _transformed(Gain(gain_db, gain_db, p=1), wave, rate_hz, amplitude_ratio=10 ** (gain_db / 20))


def _transformed(transform: Any, wave: Wave, rate_hz: int, **parameters: Any) -> Wave:
    """What an audiomentations transform does at given parameters; its own draws use a global generator."""
    transform.parameters = {"should_apply": True, **parameters}
    transform.freeze_parameters()
    return np.asarray(transform(wave, rate_hz), dtype=np.float32)


def _in_room(wave: Wave, rate_hz: int, reverberation_seconds: float, noise: np.random.Generator) -> Wave:
    """The wave in a room: direct sound, then noise that falls by 60 dB within the reverberation time, 9 dB below."""
    from scipy.signal import fftconvolve

    times = np.arange(1, round(reverberation_seconds * rate_hz)) / rate_hz
    tail = noise.standard_normal(len(times)) * 10 ** (-3 * times / reverberation_seconds)
    tail *= 10 ** (-9 / 20) / max(float(np.sqrt(np.sum(tail**2))), 1e-12)
    response = np.concatenate([[1.0], tail])
    return np.asarray(fftconvolve(wave, response)[: len(wave)], dtype=np.float32)


def _noisy(wave: Wave, _: int, snr_db: float, noise: np.random.Generator) -> Wave:
    """White noise at `snr_db` below the wave's RMS level."""
    from audiomentations.core.utils import calculate_desired_noise_rms, calculate_rms

    level = calculate_desired_noise_rms(calculate_rms(wave), snr_db)
    return (wave + level * noise.standard_normal(len(wave))).astype(np.float32)
