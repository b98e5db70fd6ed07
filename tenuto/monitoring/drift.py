"""Is what is served still like what the model was made from? One test per signal, and what all of them come to.

Recordings (duration, level, how clips of a class sound) are held against all clips of `reference.parquet`; what a model
says of clips it was trained on flatters it, so answers (confidence, novelty, unknown) are held against the validation
clips alone. An alarm takes two things: a difference that chance does not explain, after Holm's correction over all
signals, and one that is large enough to matter. With thousands of clips the first alone would alarm at trifles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from tenuto.monitoring import two_sample
from tenuto.monitoring.two_sample import Difference, Draws
from tenuto.records import Record
from tenuto.scoring import statistics
from tenuto.validation.statistics import category_counts

SignalName = Literal["duration", "level", "labels", "sound", "confidence", "novelty", "unknown", "quality"]

LARGE_INDEX = 0.2
"""A population stability index from which a change counts as large, as for `validation.drift`."""
LARGE_DISCREPANCY = 0.0018
"""Of sound within the classes, above what lies between training and validation clips, who often are other speakers.
`benchmarks/drift.py` prints what new voices, accents, noise and the telephone come to."""
LARGE_SHARE = 0.05
"""More clips called unknown, as a share of all."""

_SILENCE_DBFS = -120.0
_SEED = 20_120_301

MEANINGS: dict[SignalName, str] = {
    "duration": "how long the clips are",
    "level": "how loud the clips are",
    "labels": "which labels are given, and how often",
    "sound": "how clips of a class sound to the model",
    "confidence": "how sure the model is",
    "novelty": "how unlike the training clips the clips are",
    "unknown": "how often the answer is unknown",
    "quality": "how often the answer is right where a label came back",
}


@dataclass(frozen=True)
class Measured:
    """A signal before all of them are judged together; `large` is the size from which it matters."""

    name: SignalName
    size: float
    large: float
    p_value: float
    then: str
    now: str


class Signal(Record):
    """A signal as it was judged."""

    name: SignalName
    size: float
    large: float
    p_value: float
    """After Holm's correction over all signals of the look."""
    is_found: bool
    then: str
    """The figure on the reference clips, in words."""
    now: str


def measure(
    reference: pd.DataFrame, served: pd.DataFrame, most_divisions: int = two_sample.PERMUTATIONS
) -> list[Measured]:
    """Every signal of `served` that can be told, against `reference`; quality is not among them.

    `reference` has the columns of `tenuto.exporting.reference`, `served` those of `tenuto.tracing.served.frame`, of one
    version and without shadow answers. The same tables always give the same p-values; with 0 divisions there are
    sizes alone.
    """
    draws = Draws(np.random.default_rng(_SEED), most_divisions)
    validation = reference[reference["split"] == "validation"]
    found = [
        _of_numbers("duration", reference, served, "duration_seconds", "s", draws),
        _of_numbers("level", reference, served, "level_dbfs", "dBFS", draws),
        _of_labels(reference, served, draws),
        _of_sound(reference, served, draws),
        _of_numbers("confidence", validation, served, "probability", "", draws),
    ]
    if validation["novelty"].any() and served["novelty"].notna().any():
        found += [_of_numbers("novelty", validation, served, "novelty", "", draws), _of_unknown(validation, served)]
    return found


def judged(measured: Sequence[Measured], level: float) -> tuple[Signal, ...]:
    """The signals, each found when its size matters and its corrected p-value is at most `level`."""
    adjusted = statistics.holm([signal.p_value for signal in measured])
    return tuple(
        Signal(
            name=signal.name,
            size=signal.size,
            large=signal.large,
            p_value=p_value,
            is_found=signal.size >= signal.large and p_value <= level,
            then=signal.then,
            now=signal.now,
        )
        for signal, p_value in zip(measured, adjusted, strict=True)
    )


def _of_numbers(
    name: SignalName, before: pd.DataFrame, now: pd.DataFrame, column: str, unit: str, draws: Draws
) -> Measured:
    then, later = (_numbers(table[column]) for table in (before, now))
    found = two_sample.of_numbers(then, later, draws)
    return Measured(name, found.size, LARGE_INDEX, found.p_value, _in_words(then, unit), _in_words(later, unit))


def _in_words(values: np.ndarray, unit: str) -> str:
    """The middle, and where the lowest and highest tenth begin: a change is often in the tails alone."""
    if not len(values):
        return "none"
    low, middle, high = (f"{value:.3g}" for value in np.quantile(values, (0.1, 0.5, 0.9)))
    return f"{middle} {unit}".strip() + f" ({low} to {high})"


def _numbers(values: pd.Series) -> np.ndarray:
    known = values.dropna().to_numpy(dtype=float)
    # digital silence has no level; a quantile needs one
    return np.maximum(known, _SILENCE_DBFS)


def _of_labels(before: pd.DataFrame, now: pd.DataFrame, draws: Draws) -> Measured:
    given = now.loc[~now["is_unknown"].astype(bool), "label"]
    found = two_sample.of_categories(before["predicted"].tolist(), given.tolist(), draws)
    names, *counts = category_counts(before["predicted"], given)
    was, is_now = (count / max(count.sum(), 1) for count in counts)
    most = int(np.argmax(np.abs(is_now - was)))
    then, later = (f"{names[most] or 'none'} {share[most]:.0%}" for share in (was, is_now))
    return Measured("labels", found.size, LARGE_INDEX, found.p_value, then, later)


def _of_sound(before: pd.DataFrame, now: pd.DataFrame, draws: Draws) -> Measured:
    heard = now[now["embedding"].map(len) > 0]
    found = _discrepancy(before, heard, draws)
    # what training itself does to the embeddings of the clips trained on is no drift
    train, validation = (before[before["split"] == split] for split in ("train", "validation"))
    own = max(_discrepancy(train, validation, Draws(draws.rng, 0)).size, 0.0)
    then, later = f"discrepancy {own:.4f}", f"{max(found.size, 0.0):.4f}"
    return Measured("sound", found.size, LARGE_DISCREPANCY + own, found.p_value, then, later)


def _discrepancy(before: pd.DataFrame, now: pd.DataFrame, draws: Draws) -> Difference:
    first, second = (np.stack(t["embedding"].tolist()) if len(t) else np.empty((0, 1)) for t in (before, now))
    return two_sample.of_embeddings(first, second, likeliest(before), likeliest(now), draws)


def likeliest(table: pd.DataFrame) -> list[str]:
    """The likeliest class of each clip by its columns `p_<label>`, also where the answer was another or none."""
    columns = [column for column in table.columns if column.startswith("p_")]
    probabilities = table[columns].to_numpy(dtype=float)
    return [columns[place].removeprefix("p_") for place in np.nan_to_num(probabilities, nan=-1.0).argmax(axis=1)]


def _of_unknown(before: pd.DataFrame, now: pd.DataFrame) -> Measured:
    was, is_now = before["novelty"] > 1, now["is_unknown"].astype(bool)
    table = [[int(is_now.sum()), int((~is_now).sum())], [int(was.sum()), int((~was).sum())]]
    more = stats.fisher_exact(table, alternative="greater").pvalue
    size = float(is_now.mean() - was.mean())
    return Measured("unknown", size, LARGE_SHARE, float(more), f"{was.mean():.1%}", f"{is_now.mean():.1%}")
