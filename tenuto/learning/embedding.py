"""Frozen pooled embeddings of clips and of their augmented copies, kept per clip.

The store's key holds what an embedding depends on besides the clip and its draw: the backbone's revision, the
preprocessing, and where the model is tailored its pool and truncation. So a run over 1 % new clips embeds those alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from tenuto.learning import augment, backbones
from tenuto.learning.backbones.tailored import TailoredForAudioClassification
from tenuto.learning.framing import Wave
from tenuto.learning.preprocessing import Features, Preprocessing, moved
from tenuto.store import ClipStore

Progress = Callable[[int, int], None]

_BATCH_CLIPS = 32
_SHARD_CLIPS = 512


@dataclass(frozen=True)
class Embedded:
    """Embeddings (rows, dimensions), float32, in the order of the rows asked for, and what they cost."""

    vectors: npt.NDArray[np.float32]
    computed: int
    reused: int


@dataclass(frozen=True)
class Encoder:
    """A frozen model, its preprocessing and the store key that stands for both."""

    model: Any
    preprocessing: Preprocessing
    revision: str

    @property
    def key(self) -> str:
        parts = [self.revision, self.preprocessing.sha256]
        if isinstance(self.model, TailoredForAudioClassification):
            parts.append(self.model.frozen_key)
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:32]


def embed(
    rows: pd.DataFrame, data: Path, encoder: Encoder, cache: Path, *, on_progress: Progress | None = None
) -> Embedded:
    """The embeddings of `rows`: clips (clip_id, path relative to `data`), with the columns augment.DRAWN for copies.

    NaN in `noise_seed` means the clip as it is.
    """
    store = ClipStore(cache, "embeddings", encoder.key)
    names = [_name(row) for row in rows.to_dict("records")]
    known = _vectors(store.load())
    missing = rows[[name not in known for name in names]]
    for done, table in _computed(missing, data, encoder):
        store.add(table)
        known |= _vectors(table)
        if on_progress:
            on_progress(done, len(missing))
    vectors = np.stack([known[name] for name in names]) if names else np.empty((0, 0), np.float32)
    return Embedded(vectors, computed=len(missing), reused=len(rows) - len(missing))


def waves(rows: pd.DataFrame, data: Path, preprocessing: Preprocessing) -> Iterator[Wave]:
    """The waves of `rows` one after the other, augmented where a row says so."""
    for row in rows.to_dict("records"):
        wave = preprocessing.read(data / row["path"])
        yield augment.apply(wave, preprocessing.sample_rate_hz, row) if _is_copy(row) else wave


def _computed(rows: pd.DataFrame, data: Path, encoder: Encoder) -> Iterator[tuple[int, pd.DataFrame]]:
    """(rows done, table of the next ones), so that a kill loses one shard of work at most."""
    for start in range(0, len(rows), _SHARD_CLIPS):
        part = rows.iloc[start : start + _SHARD_CLIPS]
        records = part.to_dict("records")
        vectors: dict[str, Any] = {}
        prepared = encoder.preprocessing.batches(waves(part, data, encoder.preprocessing), _BATCH_CLIPS)
        for positions, features in prepared:
            pooled = _pooled(encoder.model, features)
            vectors.update((_name(records[at]), vector) for at, vector in zip(positions, pooled, strict=True))
        yield start + len(part), pd.DataFrame({"embedding": pd.Series(vectors, dtype=object)})


def _pooled(model: Any, features: Features) -> npt.NDArray[np.float32]:
    """(clips, dimensions) of features, the same to the last bit in whatever company a clip comes."""
    # a batch of one runs on other kernels, which round differently; which clips come alone depends on what is stored
    clips = len(next(iter(features.values())))
    pair = {name: torch.cat([tensor, tensor]) for name, tensor in features.items()} if clips == 1 else features
    found: npt.NDArray[np.float32] = backbones.pooled(model, moved(pair, model.device)).cpu().numpy()
    return found[:clips]


def _vectors(table: pd.DataFrame) -> dict[str, npt.NDArray[np.float32]]:
    if table.empty:
        return {}
    return {str(name): np.asarray(vector, np.float32) for name, vector in table["embedding"].items()}


def _is_copy(row: dict[Any, Any]) -> bool:
    return not np.isnan(row.get("noise_seed", np.nan))


def _name(row: dict[Any, Any]) -> str:
    return f"{row['clip_id']}-{augment.draw_hash(row)}" if _is_copy(row) else str(row["clip_id"])
