"""A few of the augmented copies that the candidate was trained on, made again from the same draws.

Draws are in seconds, dB, Hz and semitones, so a copy can be made at the recording's own sample rate, which is what a
listener wants to hear and see.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tenuto.errors import ClipError
from tenuto.learning import augment
from tenuto.reporting.sounds import MOST_HZ, AugmentedExample
from tenuto.settings import Params
from tenuto.sound import audio

logger = logging.getLogger(__name__)

MOST_EXAMPLES = 4

_WORDS = {
    "stretch_rate": lambda rate: f"{'faster' if rate > 1 else 'slower'} by {abs(rate - 1):.0%}",
    "pitch_semitones": lambda semitones: f"pitch {semitones:+.1f} semitones",
    "shift_seconds": lambda seconds: f"{'later' if seconds > 0 else 'earlier'} by {abs(seconds) * 1000:.0f} ms",
    "room_seconds": lambda seconds: f"room of {seconds:.1f} s",
    "band_limit_hz": lambda hz: f"nothing above {hz / 1000:.1f} kHz",
    "gain_db": lambda db: f"{abs(db):.1f} dB {'louder' if db > 0 else 'softer'}",
    "noise_snr_db": lambda db: f"noise at {db:.0f} dB",
}


def examples(clips: pd.DataFrame | None, data: Path | None, params: Params | None) -> list[AugmentedExample]:
    """Copies to show, one for each reason first, the most changed ones of each; none without clips or settings."""
    if clips is None or data is None or params is None:
        return []
    copies = _copies(clips, params)
    copies["changed"] = copies[list(_WORDS)].notna().sum(axis=1)
    copies = copies[copies["changed"] > 0]
    copies["turn"] = copies.groupby("reason")["changed"].rank(method="first", ascending=False)
    chosen = copies.sort_values(["turn", "reason"], kind="stable").head(MOST_EXAMPLES)
    made = (_example(row, data) for row in chosen.to_dict("records"))
    return [example for example in made if example is not None]


def changes(drawn: Mapping[Any, Any]) -> str:
    """What was drawn, in words: 'room of 0.3 s, noise at 12 dB'."""
    return ", ".join(words(drawn[name]) for name, words in _WORDS.items() if not np.isnan(drawn[name]))


def _copies(clips: pd.DataFrame, params: Params) -> pd.DataFrame:
    """The copies that filled up rare classes and groups; where nothing was rare, copies as each epoch draws them."""
    rng = np.random.default_rng(params.seed)
    planned = augment.plan(clips, params.augment, rng, params.data.labels)
    if len(planned):
        return planned
    some = clips[clips["split"] == "train"].head(10 * MOST_EXAMPLES).reset_index(drop=True)
    return pd.concat([some.assign(reason=""), augment.draw(len(some), params.augment, rng)], axis=1)


def _example(row: Mapping[Any, Any], data: Path) -> AugmentedExample | None:
    try:
        recording = audio.decode(data / row["path"])
    except ClipError as error:
        logger.warning("no augmented example of %s in the report: %s", row["path"], error)
        return None
    rate_hz = min(recording.sample_rate_hz, MOST_HZ)
    wave = audio.waveform(recording, rate_hz)
    return AugmentedExample(
        label=row["label"],
        source=row["source"],
        changes=changes(row),
        original=wave,
        augmented=augment.apply(wave, rate_hz, row),
        sample_rate_hz=rate_hz,
    )
