"""How unlike the training clips a clip is, from its embedding: beyond a threshold the answer is "unknown".

Two distances to the classes are taken, both after whitening by the covariance within the classes (Ledoit and Wolf, "A
well-conditioned estimator for large-dimensional covariance matrices", 2004). Mahalanobis' distance to the nearest class
mean (Lee et al., "A simple unified framework for detecting out-of-distribution samples", NeurIPS 2018) finds what is
far out. The cosine to the nearest class mean, as seen from the centre of all clips, finds what is near the centre, such
as noise and silence, which excite little of anything. Each is measured by its own spread over the training clips, and
the larger one counts. `benchmarks/novelty.py` compares this with either alone, with neighbours and with energies.

The threshold is a conformal one (Vovk, Gammerman and Shafer, "Algorithmic learning in a random world", 2005): of clips
that are like the validation clips, at most `rate` are refused, whatever their distribution. That takes 1 / rate - 1
validation clips, 99 for the default. With fewer, what is above their upper quartile is taken for an exponential tail;
in the simulations of the tests 1 to 2 in 100 are refused then.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tenuto.errors import BackboneError

Array = npt.NDArray[np.float64]

FILE_NAME = "novelty.npz"
MIN_CLIPS = 10
"""With fewer validation clips no threshold is fitted, and nothing is called unknown."""

_SPREAD_QUANTILE = 0.9
_CLIPS_OF_A_CLASS = 3
_HIGHEST = 1e6


@dataclass(frozen=True)
class Novelty:
    """What was fitted. `whitening` (dims, dims); `means` (classes, dims) and `centre` (dims,) are whitened."""

    whitening: npt.NDArray[np.float32]
    means: npt.NDArray[np.float32]
    centre: npt.NDArray[np.float32]
    distance_spread: float
    angle_spread: float
    threshold: float

    def score(self, embeddings: npt.NDArray[Any]) -> Array:
        """(clips,) of embeddings (clips, dims): 0 and up, above 1 is unknown."""
        distances, angles = self.parts(embeddings)
        raw = np.maximum(distances / self.distance_spread, angles / self.angle_spread)
        return np.fmin(raw / self.threshold, _HIGHEST)  # and not NaN either

    def parts(self, embeddings: npt.NDArray[Any]) -> tuple[Array, Array]:
        """Both (clips,): distance to the nearest class mean, and 1 less the largest cosine to one."""
        seen = self._seen
        white = embeddings.astype(np.float64) @ seen.whitening
        squares = np.einsum("ij,ij->i", white, white)[:, None] + seen.squares - 2 * (white @ seen.means)
        distances = np.sqrt(np.maximum(squares.min(axis=1), 0))
        white -= seen.centre
        lengths = np.sqrt(np.einsum("ij,ij->i", white, white))
        cosines = (white @ seen.directions).max(axis=1) / np.where(lengths > 0, lengths, 1)
        return distances, 1 - cosines

    @cached_property
    def _seen(self) -> _Seen:
        means, centre = self.means.astype(np.float64), self.centre.astype(np.float64)
        return _Seen(
            self.whitening.astype(np.float64),
            means.T.copy(),
            (means**2).sum(axis=1),
            centre,
            _directions(means - centre).T.copy(),
        )

    def save(self, folder: Path) -> None:
        """Write FILE_NAME into a bundle's folder."""
        np.savez(folder / FILE_NAME, **asdict(self))


@dataclass(frozen=True)
class _Seen:
    """What every clip is held against, in double precision, worked out once: means and directions (dims, classes)."""

    whitening: Array
    means: Array
    squares: Array
    centre: Array
    directions: Array


def load(folder: Path) -> Novelty | None:
    """What was fitted for the bundle in a folder; None where there is no such file, BackboneError for a damaged one."""
    path = folder / FILE_NAME
    if not path.is_file():
        return None
    try:
        with np.load(path) as stored:
            values: dict[str, Any] = {
                name: stored[name] if stored[name].ndim else float(stored[name]) for name in stored.files
            }
        return Novelty(**values)
    except (OSError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise BackboneError(f"{path} is no measure of novelty of Tenuto: {error}") from error


def fit(
    train: npt.NDArray[Any], labels: Sequence[str], validation: npt.NDArray[Any], rate: float = 0.01
) -> Novelty | None:
    """Fitted on embeddings (clips, dims) of training clips with their labels, and of validation clips.

    A clip with several labels is of the class of its whole text ('dog;rain'); classes of fewer than three clips count
    only when there are no others. Of clips like the validation clips at most `rate`, in (0, 1), score above 1. None
    when there are fewer than MIN_CLIPS validation clips, or no training clips.
    """
    from sklearn.covariance import ledoit_wolf

    if len(validation) < MIN_CLIPS or not len(train):
        return None
    embeddings = train.astype(np.float64)
    names, classes, counts = np.unique(np.asarray(labels, dtype=str), return_inverse=True, return_counts=True)
    wanted = counts >= min(_CLIPS_OF_A_CLASS, counts.max())
    means = np.stack([embeddings[classes == place].mean(axis=0) for place in range(len(names))])
    within = (embeddings - means[classes])[wanted[classes]]
    whitening = _inverse_root(ledoit_wolf(within, assume_centered=True)[0])
    centre = embeddings.mean(axis=0)
    unscaled = Novelty(
        whitening.astype(np.float32),
        (means[wanted] @ whitening).astype(np.float32),
        (centre @ whitening).astype(np.float32),
        distance_spread=1.0,
        angle_spread=1.0,
        threshold=1.0,
    )
    spreads = [float(np.quantile(part, _SPREAD_QUANTILE)) or 1.0 for part in unscaled.parts(embeddings)]
    scaled = replace(unscaled, distance_spread=spreads[0], angle_spread=spreads[1])
    return replace(scaled, threshold=_threshold(scaled.score(validation), rate))


def _threshold(scores: Array, rate: float) -> float:
    """The score, above 0, that one more clip of the same kind exceeds with a chance of at most `rate`."""
    ordered = np.sort(np.maximum(scores, np.finfo(np.float32).tiny))
    clips = len(ordered)
    place = math.ceil((clips + 1) * (1 - rate))
    if place <= clips:
        return float(ordered[place - 1])
    # of clips in an exponential tail with these excesses, one more exceeds c with chance (1 + c / their sum) ** -tail
    tail = clips // 4
    start = ordered[-tail - 1]
    excess = (ordered[-tail:] - start).sum() * (((tail + 1) / ((clips + 1) * rate)) ** (1 / tail) - 1)
    return float(max(ordered[-1], start + excess))


def _directions(rows: Array) -> Array:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)


def _inverse_root(covariance: Array) -> Array:
    """The symmetric inverse square root; directions without any spread get a thousandth of the mean spread."""
    values, vectors = np.linalg.eigh(covariance)
    floor = max(float(values.mean()) * 1e-6, float(np.finfo(np.float32).tiny))
    return np.asarray((vectors / np.sqrt(np.maximum(values, floor))) @ vectors.T)
