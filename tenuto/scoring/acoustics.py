"""Under what acoustic conditions a clip was recorded, in bands that a person can name: 'noise under 10 dB'.

Edges are fixed and mean something, so that a band is the same set of conditions in every run; quantiles would move
with each batch of recordings. The bands become columns of the table of answers, beside the groups that somebody
labelled, and are scored and judged like those. A device is such a group already (`group_device`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from tenuto.records import SLICE_PREFIX

Bands = Callable[[pd.Series], pd.Series]

NOISE_EDGES_DB = (10.0, 20.0, 30.0)
"""Of the estimated signal-to-noise ratio. Under 10 dB listeners begin to miss words; 30 dB is a quiet room. A sound
that never pauses leaves nothing to measure the noise in and counts as under 10 dB (`tenuto.sound.quality.snr_db`)."""

DURATION_EDGES_SECONDS = (0.5, 1.0, 3.0, 10.0)
"""Half a second is one short word, less than most backbones hear at once, so padding begins to tell; 1 s is a keyword;
3 s a phrase; beyond 10 s, the length of AudioSet's clips, a backbone hears only part."""

LEVEL_EDGES_DBFS = (-40.0, -30.0, -20.0)
"""Of the RMS level. Speech is recorded at about -26 dBFS (ITU-T P.56); under -40 quantisation and hiss come near, over
-20 clipping does."""

_SUBTYPES = {
    "PCM_S8": "8 bit",
    "PCM_U8": "8 bit",
    "PCM_16": "16 bit",
    "PCM_24": "24 bit",
    "PCM_32": "32 bit",
    "FLOAT": "float",
    "DOUBLE": "float",
    "ULAW": "mu-law",
    "ALAW": "A-law",
    "IMA_ADPCM": "ADPCM",
    "MS_ADPCM": "ADPCM",
}
_CODECS = {"OGG/VORBIS": "Ogg Vorbis", "OGG/OPUS": "Ogg Opus"}


def bands(clips: pd.DataFrame) -> pd.DataFrame:
    """One text column per kind of slice (`slice_noise`, `slice_duration` ...), rows as in `clips`.

    `clips` holds facts of the manifest. A clip without a fact is in no band (null); so are all when the fact has no
    column.
    """
    columns = {kind: band(_facts(clips, fact)) for kind, (fact, band) in KINDS.items()}
    return pd.DataFrame({SLICE_PREFIX + kind: values for kind, values in columns.items()}, index=clips.index)


def kinds(rows: pd.DataFrame) -> list[str]:
    """The kinds of slice that divide these clips, without their prefix: one band over all of them divides nothing."""
    columns = [column for column in rows.columns if column.startswith(SLICE_PREFIX)]
    return [column.removeprefix(SLICE_PREFIX) for column in columns if rows[column].nunique() > 1]


def codec(name: str) -> str:
    """A codec as people say it: 'FLAC/PCM_16' is 'FLAC, 16 bit', 'MP3/MPEG_LAYER_III' is 'MP3'."""
    container, _, subtype = name.partition("/")
    if name in _CODECS:
        return _CODECS[name]
    return f"{container}, {_SUBTYPES[subtype]}" if subtype in _SUBTYPES else container


def _facts(clips: pd.DataFrame, fact: str) -> pd.Series:
    return clips[fact] if fact in clips else pd.Series(None, index=clips.index, dtype=object)


def _between(edges: Sequence[float], unit: str, to: str = "-") -> Bands:
    """Names each value by the edges around it; a value on an edge belongs to the band above."""
    inner = [f"{low:g}{to}{high:g} {unit}" for low, high in itertools.pairwise(edges)]
    names = [f"under {edges[0]:g} {unit}", *inner, f"over {edges[-1]:g} {unit}"]

    def named(values: pd.Series) -> pd.Series:
        numbers = pd.to_numeric(values)
        return _text(values, [names[i] for i in np.searchsorted(edges, numbers, side="right")])

    return named


def _rates(values: pd.Series) -> pd.Series:
    return _text(values, [f"{hz / 1000:g} kHz" for hz in pd.to_numeric(values)])


def _codecs(values: pd.Series) -> pd.Series:
    return _text(values, [codec(str(value)) for value in values])


def _text(values: pd.Series, names: list[str]) -> pd.Series:
    return pd.Series(names, index=values.index, dtype="string").where(values.notna().to_numpy())


KINDS: dict[str, tuple[str, Bands]] = {
    "noise": ("snr_db", _between(NOISE_EDGES_DB, "dB")),
    "duration": ("duration_seconds", _between(DURATION_EDGES_SECONDS, "s")),
    "rate": ("sample_rate_hz", _rates),
    "codec": ("codec", _codecs),
    "level": ("level_dbfs", _between(LEVEL_EDGES_DBFS, "dBFS", " to ")),
}
"""Each kind of slice with the fact of the manifest that it bands. The rate is the one the clip was recorded at."""
