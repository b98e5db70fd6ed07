"""How long a model takes over one recording, and how large it is: what somebody who serves it asks first.

Apart from the scores, because its figures are of this machine and this moment: the next run of the same model comes to
others, and a budget in the promotion policy should leave room for that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tenuto.scoring.robustness import Model, Wave
from tenuto.sound import audio

CLIPS = 30
"""So many test clips are timed, one by one."""

_WARM_UP = 3
_BYTES_PER_MB = 1_000_000


class Listener(Protocol):
    """What is timed: a model in torch, or an exported one."""

    @property
    def sample_rate_hz(self) -> int: ...

    def predict(self, waves: Sequence[Wave], batch_size: int = ..., /) -> NDArray[np.float64]: ...


def of_models(
    models: Mapping[str, Model], checkpoints: Mapping[str, Path], clips: pd.DataFrame, data: Path
) -> dict[str, dict[str, float]]:
    """Per model, the figures of `measure` over up to 30 of the test rows `clips`, and `size_mb` of its checkpoint.

    The same clips for every model, spread evenly over the table; their paths are relative to `data`. Empty when there
    is no clip.
    """
    if clips.empty:
        return {}
    paths = [data / path for path in chosen(clips)["path"]]
    heard = {
        name: (model, [audio.load_waveform(path, model.sample_rate_hz) for path in paths])
        for name, model in models.items()
    }
    return {name: found | {"size_mb": size_mb(checkpoints[name])} for name, found in in_turns(heard).items()}


def chosen(clips: pd.DataFrame, most: int = CLIPS) -> pd.DataFrame:
    """The clips that are timed: up to `most`, spread evenly over the table, at least one."""
    places = np.unique(np.linspace(0, len(clips) - 1, min(most, len(clips))).round().astype(int))
    return clips.iloc[places]


def measure(
    model: Listener, waves: Sequence[Wave], *, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Milliseconds from decoded samples to probabilities, one clip at a time: p50_ms, p95_ms; and real_time_factor.

    `waves` are (n,) float32, mono, at the model's sample rate, at least one. The real-time factor is the time that all
    of them took, divided by how long they last: below 1 the model is faster than the sound. The first few are heard
    once before, untimed, since a network's first answers take longer. `clips` says how many were timed.
    """
    return in_turns({"it": (model, waves)}, clock=clock)["it"]


def in_turns(
    models: Mapping[str, tuple[Listener, Sequence[Wave]]], *, clock: Callable[[], float] = time.perf_counter
) -> dict[str, dict[str, float]]:
    """The figures of `measure` per model, each of which hears as many waves.

    The models take turns clip by clip, so what else the machine does in the meantime weighs on all of them alike.
    """
    for model, waves in models.values():
        for wave in waves[:_WARM_UP]:
            model.predict([wave], 1)
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for place in range(max((len(waves) for _, waves in models.values()), default=0)):
        for name, (model, waves) in models.items():
            seconds[name].append(_timed(model, waves[place], clock))
    return {
        name: _figures(np.array(seconds[name]), waves, model.sample_rate_hz) for name, (model, waves) in models.items()
    }


def _figures(seconds: NDArray[np.float64], waves: Sequence[Wave], sample_rate_hz: int) -> dict[str, float]:
    heard_seconds = sum(len(wave) for wave in waves) / sample_rate_hz
    return {
        "p50_ms": float(np.percentile(seconds, 50) * 1000),
        "p95_ms": float(np.percentile(seconds, 95) * 1000),
        "real_time_factor": float(seconds.sum() / heard_seconds),
        "clips": float(len(waves)),
    }


def size_mb(checkpoint: Path) -> float:
    """Megabytes (10^6 bytes) of all files of a checkpoint folder."""
    return sum(path.stat().st_size for path in checkpoint.rglob("*") if path.is_file()) / _BYTES_PER_MB


def _timed(model: Listener, wave: Wave, clock: Callable[[], float]) -> float:
    started = clock()
    model.predict([wave], 1)
    return clock() - started
