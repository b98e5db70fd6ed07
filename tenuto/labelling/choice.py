"""Which of the recordings that were served a person should label next.

Worth asking about are those that the model wavers on and those unlike its training clips, and of these such as differ
from one another, since ten copies of one hard clip teach what one teaches.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tenuto.labels import LabelType

_SHORTLIST = 2
"""How many times the size of the queue the shortlist is that differing clips are taken from."""

Array = npt.NDArray[np.float64]


def candidates(served: pd.DataFrame, labelled: frozenset[str] = frozenset()) -> pd.DataFrame:
    """The rows of `tenuto.tracing.served.frame` that could be labelled.

    Those have their audio, no label yet, and are not among the clips `labelled` elsewhere. Windows of a stream, which
    may begin in the middle of a word, are not asked about.
    """
    is_clip = ~served["is_shadow"] & ~served["is_window"]
    rows = served[is_clip & served["audio"].notna() & served["clip_id"].notna()]
    known = set(rows.loc[rows["true_label"].notna(), "clip_id"]) | labelled
    return rows[~rows["clip_id"].isin(known)]


def of_one_version(candidates: pd.DataFrame) -> pd.DataFrame:
    """One row for each recording that the last version which heard any has heard.

    Embeddings of different versions cannot be compared.
    """
    rows = candidates
    if rows.empty:
        return rows
    return rows[rows["version"] == rows["version"].iloc[-1]].drop_duplicates("clip_id", keep="last")


def choose(
    rows: pd.DataFrame, size: int, kind: LabelType = "one", heard: npt.NDArray[Any] | None = None
) -> pd.DataFrame:
    """At most `size` of the rows of `of_one_version`, the most worthwhile first, with a column `reason`.

    A clip is worth as much as the higher of two ranks: of its uncertainty (one label: how close the two likeliest
    classes are, as in margin sampling; several: how close any probability is to one half) and of its novelty; the
    reason names which. From the best of them the queue is taken one by one, always the clip whose worth times distance
    to the nearest taken one is the highest: k-centre greedy, weighted. Distances are between the directions of
    embeddings. `heard` (clips, dims) are embeddings of clips that need no asking, and count as taken.

    Sources: T. Scheffer et al., Active hidden Markov models, IDA 2001; O. Sener and S. Savarese, Active learning for
    convolutional neural networks: a core-set approach, ICLR 2018.
    """
    if rows.empty or size < 1:
        return rows.iloc[:0].assign(reason="")
    probabilities = rows.filter(regex="^p_").to_numpy(float)
    doubt, novelty = _ranks(_uncertainty(probabilities, kind)), _ranks(rows["novelty"].to_numpy(float))
    reason = np.where(novelty > doubt, "novel", "uncertain")
    worth = np.maximum(doubt, novelty)
    best = np.argsort(-worth, kind="stable")[: _SHORTLIST * size]
    directions = _directions(np.stack(list(rows["embedding"].iloc[best])))
    taken = _differing(directions, worth[best], size, None if heard is None else _directions(heard))
    return rows.iloc[best[taken]].assign(reason=reason[best[taken]])


def _uncertainty(probabilities: Array, kind: LabelType) -> Array:
    """(clips,) in [0, 1]; 1 where a coin could be tossed. Classes that a version does not have are NaN."""
    known = np.nan_to_num(probabilities, nan=0.0)
    if kind == "many":
        return np.asarray(1 - np.abs(2 * known - 1).min(axis=1, initial=1.0))
    if known.shape[1] < 2:
        return np.zeros(len(known))
    second, first = np.sort(known, axis=1)[:, -2:].T
    return np.asarray(1 - (first - second))


def _ranks(values: Array) -> Array:
    """(clips,) in (0, 1], the highest 1 and equal values alike; 0 where all are equal, or the value is not known."""
    if len(np.unique(values[~np.isnan(values)])) < 2:
        return np.zeros(len(values))
    return np.asarray(pd.Series(values).rank(pct=True).fillna(0.0), float)


def _directions(embeddings: npt.NDArray[Any]) -> Array:
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.asarray(embeddings / np.where(lengths > 0, lengths, 1.0), float)


def _differing(directions: Array, worth: Array, size: int, heard: Array | None) -> list[int]:
    nearest = np.full(len(directions), 2.0)  # the distance between opposite directions, which none exceeds
    if heard is not None:
        for centre in heard:
            nearest = np.minimum(nearest, np.linalg.norm(directions - centre, axis=1))
    taken: list[int] = []
    while len(taken) < min(size, len(directions)):
        value = worth * nearest
        value[taken] = -1.0
        taken.append(int(np.argmax(value)))
        nearest = np.minimum(nearest, np.linalg.norm(directions - directions[taken[-1]], axis=1))
    return taken
