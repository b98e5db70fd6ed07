"""What an exported model makes of the clips it was made from: where unknown begins, and what later traffic is held to.

Written by the artefact that serves, since its answers are what the log of served predictions will hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from tenuto.labels import joined
from tenuto.learning.framing import Wave
from tenuto.serving.hearing import novelty
from tenuto.serving.hearing.bundle import REFERENCE_NAME
from tenuto.serving.hearing.classifier import Classifier, Heard
from tenuto.sound import audio

MOST_CLIPS = 2_000
"""Of each split; more are drawn from, the same ones every time."""


def write(folder: Path, clips: pd.DataFrame, data: Path, *, threads: int = 1) -> None:
    """Write novelty.npz and reference.parquet into a bundle's folder, heard by its best artefact.

    `clips` are the run's clips with `split`, their paths relative to `data`. reference.parquet has up to 2,000 training
    and 2,000 validation clips, a row each: clip_id, split, label, predicted, probability (of what is predicted; of the
    likeliest class where that is nothing), novelty, duration_seconds, level_dbfs, embedding (list of float32), and
    p_<label> per class. With too few validation clips there is no novelty.npz, and the novelty of all is 0.
    """
    chosen = pd.concat([_drawn(clips[clips["split"] == split]) for split in ("train", "validation")])
    (folder / novelty.FILE_NAME).unlink(missing_ok=True)
    classifier = Classifier.load(folder, threads=threads)
    levels: list[float] = []
    heard = classifier.hear(_waves([data / path for path in chosen["path"]], classifier.sample_rate_hz, levels))
    is_train = (chosen["split"] == "train").to_numpy()
    fitted = novelty.fit(heard.embeddings[is_train], chosen["label"][is_train].tolist(), heard.embeddings[~is_train])
    if fitted:
        fitted.save(folder)
    unlike = fitted.score(heard.embeddings) if fitted else heard.novelty
    table = chosen[["clip_id", "split", "label", "duration_seconds"]].assign(
        predicted=[joined(np.array(classifier.labels)[row]) for row in heard.decided],
        probability=_certainty(heard),
        novelty=unlike,
        level_dbfs=levels,
        embedding=list(heard.embeddings),
    )
    table[[f"p_{label}" for label in classifier.labels]] = heard.probabilities
    table.to_parquet(folder / REFERENCE_NAME, index=False)


def _drawn(clips: pd.DataFrame) -> pd.DataFrame:
    return clips if len(clips) <= MOST_CLIPS else clips.sample(MOST_CLIPS, random_state=0)


def _waves(paths: list[Path], sample_rate_hz: int, levels: list[float]) -> Iterator[Wave]:
    """The waves one by one, their levels appended to `levels` in passing, so that none is decoded twice."""
    for path in paths:
        wave = audio.load_waveform(path, sample_rate_hz)
        levels.append(audio.level_dbfs(wave))
        yield wave


def _certainty(heard: Heard) -> np.ndarray:
    given = np.where(heard.decided, heard.probabilities, 0).max(axis=1)
    return np.where(heard.decided.any(axis=1), given, heard.probabilities.max(axis=1))
