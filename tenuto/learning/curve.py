"""The label-efficiency curve: what transfer learning and training from scratch score with few and with many clips.

For every size so many training clips per class are drawn, several times, and no more validation clips than that (but
ten at least, when there are): who has five clips of a class to learn from has no hundred to choose by. The test clips
stay as they are. Transfer is the candidate of a retrain. From scratch is the better, on the validation clips of a
size's first draw, of the small networks and learning rates tried: an opponent that nobody tuned would prove nothing.
Scores of one size differ by what was drawn; the bands are Student's t intervals of their mean over the draws.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from sklearn.metrics import f1_score

from tenuto.errors import TrainingError
from tenuto.learning import finetune
from tenuto.learning.backbones import SCRATCH
from tenuto.learning.predictor import Predictor
from tenuto.records import Checkpoint, Record
from tenuto.settings import Params

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
Way = Literal["transfer", "scratch"]

SCRATCH_WAYS = tuple((network, rate) for network in SCRATCH for rate in (1e-3, 3e-3))
"""Networks and learning rates that are tried from scratch."""
SCRATCH_STEPS = 600
"""Steps that a network from scratch gets at least, so that few clips are not also few steps."""
_MAX_EPOCHS = 60
_MIN_VALIDATION_CLIPS = 10


class Point(Record):
    """One training: so many clips per class, drawn with `seed`; `macro_f1` on the test clips."""

    way: Way
    clips_per_class: int
    seed: int
    macro_f1: float
    seconds: float
    what: str


class Band(Record):
    """The mean over the draws of one size and its 95 % interval; the interval is the mean itself for one draw."""

    clips_per_class: int
    mean: float
    low: float
    high: float


class Curve(Record):
    """All points, and for every size of transfer how many clips per class from scratch needs for as much."""

    points: tuple[Point, ...]
    transfer: tuple[Band, ...]
    scratch: tuple[Band, ...]
    matched: dict[int, float | None]


@dataclass(frozen=True)
class _Draw:
    clips: pd.DataFrame
    params: Params
    size: int


def measure(
    clips: pd.DataFrame,
    data: Path,
    params: Params,
    cache: Path,
    sizes: Sequence[int],
    *,
    seeds: int = 3,
    on_progress: Progress | None = None,
) -> Curve:
    """The curve at `sizes` clips per class; a class that has fewer gives all it has.

    `clips` is the manifest with `split`, paths relative to `data`. `on_progress` is called with sizes done and all of
    them. Raises TrainingError when no class has as many clips as the smallest size, or clips have several labels.
    """
    if params.data.labels == "many":
        raise TrainingError("`tenuto curve` wants one label a clip; params.yaml says data.labels: many.")
    largest = int(clips[clips["split"] == "train"]["label"].value_counts().max())
    if min(sizes) > largest:
        raise TrainingError(
            f"No class has {min(sizes)} training clips (the largest has {largest}); name smaller sizes."
        )
    draws = [
        _Draw(_drawn(clips, size, params.seed + seed), params.model_copy(update={"seed": params.seed + seed}), size)
        for size in sorted({min(size, largest) for size in sizes})
        for seed in range(seeds)
    ]
    points: list[Point] = []
    tuned: dict[int, tuple[str, float]] = {}
    for done, draw in enumerate(draws):
        ways = (tuned[draw.size],) if draw.size in tuned else SCRATCH_WAYS
        scratch, tuned[draw.size] = _scratch(draw, ways, data, cache)
        points += [_transfer(draw, data, cache), scratch]
        logger.info("%d clips per class, seed %d: %s", draw.size, draw.params.seed, points[-2:])
        if on_progress:
            on_progress(done + 1, len(draws))
    return summarise(points)


def summarise(points: Sequence[Point]) -> Curve:
    """The bands of the points, and where the curve from scratch reaches each band of transfer."""
    transfer, scratch = _bands(points, "transfer"), _bands(points, "scratch")
    matched = {band.clips_per_class: clips_to_reach(band.mean, scratch) for band in transfer}
    return Curve(points=tuple(points), transfer=transfer, scratch=scratch, matched=matched)


def clips_to_reach(score: float, bands: Sequence[Band]) -> float | None:
    """Clips per class at which a curve reaches `score`, between its points by the logarithm of the clips.

    None when it does not; the smallest size when it is there from the start.
    """
    before: Band | None = None
    for band in sorted(bands, key=lambda b: b.clips_per_class):
        if band.mean >= score:
            if before is None:
                return float(band.clips_per_class)
            share = (score - before.mean) / (band.mean - before.mean)
            return float(before.clips_per_class * (band.clips_per_class / before.clips_per_class) ** share)
        before = band
    return None


def _bands(points: Sequence[Point], way: Way) -> tuple[Band, ...]:
    sizes = sorted({point.clips_per_class for point in points if point.way == way})
    return tuple(
        _band(size, [p.macro_f1 for p in points if p.way == way and p.clips_per_class == size]) for size in sizes
    )


def _band(size: int, scores: Sequence[float]) -> Band:
    from scipy import stats

    mean, half = float(np.mean(scores)), 0.0
    if len(scores) > 1:
        half = float(stats.t.ppf(0.975, len(scores) - 1) * np.std(scores, ddof=1) / np.sqrt(len(scores)))
    return Band(clips_per_class=size, mean=mean, low=max(mean - half, 0.0), high=min(mean + half, 1.0))


def _drawn(clips: pd.DataFrame, size: int, seed: int) -> pd.DataFrame:
    """The clips with all but `size` training clips of every class set aside, and nearly so of the validation clips."""
    rng = np.random.default_rng(seed)
    drawn = clips.copy()
    for split, most in (("train", size), ("validation", max(size, _MIN_VALIDATION_CLIPS))):
        for _, places in sorted(clips[clips["split"] == split].groupby("label").groups.items()):
            # one order for all sizes: a larger draw holds the smaller one
            order = rng.permutation(np.asarray(places))
            drawn.loc[order[most:], "split"] = "aside"
    return drawn


def _transfer(draw: _Draw, data: Path, cache: Path) -> Point:
    with tempfile.TemporaryDirectory(prefix="tenuto-curve-") as folder:
        made = finetune.train_candidate(draw.clips, data, draw.params, cache, Path(folder) / "candidate")
        return _point("transfer", draw, data, made)


def _scratch(
    draw: _Draw, ways: Sequence[tuple[str, float]], data: Path, cache: Path
) -> tuple[Point, tuple[str, float]]:
    """The network and learning rate, of `ways`, that do best on the validation clips."""
    batches = -(-draw.size * draw.clips["label"].nunique() // draw.params.finetune.batch_size)
    epochs = int(np.clip(-(-SCRATCH_STEPS // batches), draw.params.finetune.epochs, _MAX_EPOCHS))
    with tempfile.TemporaryDirectory(prefix="tenuto-curve-") as folder:
        made: dict[tuple[str, float], Checkpoint] = {}
        for network, rate in ways:
            choices = {"baseline": network, "scratch_learning_rate": rate, "epochs": epochs}
            finetuning = draw.params.finetune.model_copy(update=choices)
            params = draw.params.model_copy(update={"finetune": finetuning})
            output = Path(folder) / f"{network}-{rate}"
            made[network, rate] = finetune.train_baseline(draw.clips, data, params, cache, output)
        best = max(made, key=lambda way: made[way].validation["macro_f1"])
        return _point("scratch", draw, data, made[best]), best


def _point(way: Way, draw: _Draw, data: Path, made: Checkpoint) -> Point:
    predictor = Predictor.load(made.path)
    test = draw.clips[(draw.clips["split"] == "test") & draw.clips["label"].isin(made.labels)]
    probabilities = predictor.predict(predictor.preprocessing.read(data / path) for path in test["path"])
    said = np.asarray(predictor.labels)[predictor.decide(probabilities).argmax(axis=1)]
    return Point(
        way=way,
        clips_per_class=draw.size,
        seed=draw.params.seed,
        macro_f1=float(f1_score(test["label"], said, average="macro")),
        seconds=made.seconds,
        what=f"{made.backbone}, {made.origin}",
    )
