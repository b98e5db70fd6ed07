"""How much of a recording a model hears at once: cut, padded with silence, in windows. Numbers only, no torch.

Separate from `tenuto.learning.preprocessing`, which adds the feature extraction, because an exported model has that
inside its graph and is served by this alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Wave = npt.NDArray[np.float32]

_LENGTHS_PER_OCTAVE = 4
DEFAULT_MIN_SECONDS = 0.5
"""Of a clip that are heard at least, where a backbone does not say otherwise."""


@dataclass(frozen=True)
class Framing:
    """Sample rate, clip length and windows of one model.

    Clips longer than `max_seconds` are cut around their centre; shorter ones get silence on both sides up to
    `min_seconds`, or up to the next of four lengths per octave above it. With `pads_itself` the model has a window of
    its own, and any clips can share a batch. With `masks` the silence above `min_seconds` comes after the clip, and a
    mask tells the model so.

    With `window_seconds` a clip is heard through windows of that length, each of which hears `window_overlap` of the
    one before it again, the last one up to the end of the clip. A shorter clip is one window.
    """

    sample_rate_hz: int
    min_seconds: float
    max_seconds: float
    pads_itself: bool
    masks: bool = False
    window_seconds: float | None = None
    window_overlap: float = 0.0

    @property
    def has_windows(self) -> bool:
        """Whether what the model hears has a second dimension: (clips, windows, samples)."""
        return self.window_seconds is not None

    @property
    def longest(self) -> int:
        """Samples of a clip that are heard at most."""
        return round(self.max_seconds * self.sample_rate_hz)

    @property
    def shortest(self) -> int:
        """Samples that are heard at least, with silence where the clip has none."""
        return math.ceil(self.min_seconds * self.sample_rate_hz)

    @property
    def _window(self) -> int:
        """Samples of a window, 0 when clips are heard at once."""
        return round((self.window_seconds or 0) * self.sample_rate_hz)

    @property
    def _hop(self) -> int:
        return max(round(self._window * (1 - self.window_overlap)), 1)

    def length(self, samples: int) -> int:
        """How many samples the model gets at once of a clip of so many."""
        longest = self._window or self.longest
        shortest = self.min_seconds * self.sample_rate_hz
        if self.pads_itself:
            return min(max(samples, math.ceil(shortest)), longest)
        steps = math.ceil(_LENGTHS_PER_OCTAVE * math.log2(max(samples, shortest) / shortest) - 1e-9)
        return min(math.ceil(shortest * 2 ** (steps / _LENGTHS_PER_OCTAVE)), longest)

    def windows(self, samples: int) -> tuple[int, ...]:
        """Where the windows of a clip of so many samples begin; (0,) when it is heard at once."""
        samples = min(samples, self.longest)
        if not self._window or samples <= self._window:
            return (0,)
        last = samples - self._window
        return (*range(0, last, self._hop), last)

    def bucket(self, samples: int) -> int:
        """Equal for clips that can share a batch without being heard differently for it; -n for those of n windows."""
        if (count := len(self.windows(samples))) > 1:
            return -count
        return 0 if self.pads_itself else self.length(samples)

    def fit(self, wave: Wave, length: int) -> Wave:
        """The (n,) wave cut around its centre, or with silence on both sides, to `length` samples."""
        excess = len(wave) - length
        if excess >= 0:
            return wave[excess // 2 : excess // 2 + length]
        padded = np.zeros(length, wave.dtype)  # a tenth of the time that np.pad takes
        padded[-excess // 2 : -excess // 2 + len(wave)] = wave
        return padded

    def pieces(self, waves: Sequence[Wave], *, most_windows: int | None = None) -> list[Wave]:
        """The windows of waves that share a batch, clip after clip, as many of each; of more windows so many."""
        waves = [self.fit(wave, min(len(wave), self.longest)) for wave in waves]
        count = max(len(self.windows(len(wave))) for wave in waves)
        # augmentation may have made one clip longer than another: the shorter one gets silence for the same windows
        shortest = self._window + (count - 2) * self._hop + 1 if count > 1 else 0
        waves = [self.fit(wave, max(len(wave), shortest)) for wave in waves]
        return [
            wave[start : start + self._window]
            for wave in waves
            for start in _spaced(self.windows(len(wave)), most_windows)
        ]

    def batches(self, waves: Iterable[Wave], batch_size: int) -> Iterator[tuple[list[int], list[Wave]]]:
        """Positions in `waves` and the waves that share a batch; keeps few waves in memory at a time.

        A batch has at most `batch_size` windows, but one clip at least.
        """
        waiting: dict[int, list[tuple[int, Wave]]] = {}
        for position, wave in enumerate(waves):
            key = self.bucket(len(wave))
            bucket = waiting.setdefault(key, [])
            bucket.append((position, wave))
            if len(bucket) == clips_per_batch(batch_size, len(self.windows(len(wave)))):
                yield _unzipped(waiting.pop(key))
        for bucket in waiting.values():
            yield _unzipped(bucket)


def rounded_up(seconds: float) -> float:
    """The next of four lengths per octave from half a second on, so that a window seldom changes with the data."""
    steps = math.ceil(_LENGTHS_PER_OCTAVE * math.log2(max(seconds / DEFAULT_MIN_SECONDS, 1)) - 1e-9)
    return float(DEFAULT_MIN_SECONDS * 2 ** (steps / _LENGTHS_PER_OCTAVE))


def clips_per_batch(batch_size: int, windows: int) -> int:
    """How many clips of so many windows make up a batch of at most `batch_size` windows; one at least."""
    return max(1, batch_size // windows)


def _unzipped(bucket: list[tuple[int, Wave]]) -> tuple[list[int], list[Wave]]:
    return [position for position, _ in bucket], [wave for _, wave in bucket]


def _spaced(starts: Sequence[int], most: int | None) -> Sequence[int]:
    """`most` of the starts, evenly spaced, the first and the last among them."""
    if most is None or len(starts) <= most:
        return starts
    return [starts[place] for place in np.linspace(0, len(starts) - 1, most).round().astype(int)]
