"""A stream of sound, heard through windows: PCM comes in, smoothed probabilities and events go out.

Separate from the connection, so that what a stream answers can be compared with what the same windows answer offline:
`Cutter` makes the windows that `starts` names, sample for sample those of the whole recording resampled at once, and
`Smoother` turns what a classifier makes of them into windows and events. Both hold a few windows at a time, however
long the stream.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import soxr

from tenuto.errors import ClipError
from tenuto.labels import UNKNOWN, LabelType, joined
from tenuto.learning.calibration import Calibration
from tenuto.learning.framing import Framing, Wave
from tenuto.serving.hearing.classifier import Heard
from tenuto.serving.settings import StreamSettings
from tenuto.sound.audio import Recording, waveform

Array = npt.NDArray[np.float64]
Format = Literal["s16le", "f32le"]

_LOUDEST = 100.0
_DTYPES: dict[Format, str] = {"s16le": "<i2", "f32le": "<f4"}


@dataclass(frozen=True)
class Cut:
    """One window of a stream: its place among them, where it begins, and the samples as the model hears them."""

    position: int
    begin: int
    wave: Wave


@dataclass(frozen=True)
class Event:
    """A label begins, or ends, at a time of the stream; `probability` is the smoothed one, at an end the highest."""

    kind: Literal["begin", "end"]
    label: str
    at_seconds: float
    probability: float


@dataclass(frozen=True)
class Window:
    """What was heard in one window, alone and smoothed over the ones before it.

    `probabilities` and `smoothed` (classes,) are in [0, 1]; labels are as in an answer: several joined by ';',
    'unknown' for a window that is too unlike the training clips. `middle_seconds` is the middle of all that the
    smoothed probabilities are a mean of.
    """

    position: int
    begin_seconds: float
    end_seconds: float
    middle_seconds: float
    label: str
    probabilities: Array
    novelty: float
    is_unknown: bool
    smoothed_label: str
    smoothed: Array
    events: tuple[Event, ...]


def window_samples(framing: Framing, settings: StreamSettings) -> tuple[int, int]:
    """Samples of a window and from one window to the next, at the model's rate."""
    shortest = framing.window_seconds or framing.min_seconds
    seconds = settings.window_seconds or shortest
    window = min(max(round(seconds * framing.sample_rate_hz), 1), framing.longest)
    return window, min(max(round(settings.hop_seconds * framing.sample_rate_hz), 1), window)


def starts(samples: int, window: int, hop: int) -> tuple[int, ...]:
    """Where the windows of so many samples begin: every hop, and the last one up to the end; one if they are few."""
    if samples <= window:
        return (0,) if samples else ()
    return (*range(0, samples - window, hop), samples - window)


class Decoder:
    """Raw PCM bytes, cut anywhere, as (n,) float32 samples."""

    def __init__(self, format: Format) -> None:
        self._dtype = np.dtype(_DTYPES[format])
        self._rest = b""

    def samples(self, data: bytes) -> Wave:
        """The samples that are whole by now; ClipError when they are no sound."""
        data = self._rest + data
        whole = len(data) - len(data) % self._dtype.itemsize
        self._rest = data[whole:]
        found = np.frombuffer(data[:whole], self._dtype)
        if self._dtype.kind == "i":
            return found.astype(np.float32) / np.float32(32768)
        if len(found) and not np.abs(found).max() <= _LOUDEST:  # also true for NaN
            raise ClipError("no-sound", f"samples up to {np.abs(found).max():g}; f32le has full scale at 1")
        return found.astype(np.float32)


class Cutter:
    """Resamples a stream and cuts it into windows; what no window needs any more is forgotten.

    Resampling keeps back the last 0.04 to 0.12 s until more comes.
    """

    def __init__(self, from_hz: int, to_hz: int, window: int, hop: int) -> None:
        self._resampler = soxr.ResampleStream(from_hz, to_hz, 1, "float32", "HQ") if from_hz != to_hz else None
        self._rate_hz = to_hz
        self._window, self._hop = window, hop
        self._kept: Wave = np.empty(0, np.float32)
        self._kept_from = 0
        self._next = self._heard_to = self._position = 0

    @property
    def end(self) -> int:
        """Samples at the model's rate that have come so far."""
        return self._kept_from + len(self._kept)

    def push(self, samples: Wave) -> Iterator[Cut]:
        """The windows that more (n,) samples complete, one at a time; the stream may go on after each."""
        self._append(samples)
        while self._next + self._window <= self.end:
            yield self._cut(self._next, self._next + self._window)
            self._next += self._hop
        self._forget(self.end - self._window)

    def finish(self) -> Iterator[Cut]:
        """The windows that are left when the stream ends; the last one reaches up to its end."""
        self._append(np.empty(0, np.float32), last=True)
        yield from self.push(np.empty(0, np.float32))
        if self.end > self._heard_to:
            yield self._cut(max(self.end - self._window, 0), self.end)

    def _append(self, samples: Wave, *, last: bool = False) -> None:
        if self._resampler is not None and (last or len(samples)):
            samples = self._resampler.resample_chunk(samples, last=last)
        self._kept = np.concatenate([self._kept, samples])

    def _cut(self, begin: int, end: int) -> Cut:
        samples = self._kept[begin - self._kept_from : end - self._kept_from]
        cut = Cut(self._position, begin, waveform(Recording(samples[:, None], self._rate_hz, "", False), self._rate_hz))
        self._position += 1
        self._heard_to = end
        return cut

    def _forget(self, before: int) -> None:
        """Drop samples before a place; no window to come reaches further back than the last one may."""
        before = min(before, self._next)
        if before > self._kept_from:
            self._kept = self._kept[before - self._kept_from :].copy()
            self._kept_from = before


@dataclass
class Smoother:
    """Probabilities of windows, as they come, averaged over the last few, and the events that they tell of.

    A label's event begins where its smoothed probability reaches the threshold. It ends where it is below it again, or
    most of the windows are unknown. Either is halfway between the middles of two windows; an event of the first window
    begins with the stream, and one of the last ends with it.
    """

    labels: tuple[str, ...]
    kind: LabelType
    calibration: Calibration
    sample_rate_hz: int
    settings: StreamSettings
    _recent: deque[tuple[Array, bool, float]] = field(init=False)
    _under_way: dict[int, float] = field(init=False, default_factory=dict)
    _middle_seconds: float | None = field(init=False, default=None)
    _end_seconds: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._recent = deque(maxlen=self.settings.smoothing)

    def add(self, cut: Cut, heard: Heard, row: int) -> Window:
        """What the stream answers for a window that was heard as one row of `heard`."""
        begin, end = cut.begin / self.sample_rate_hz, (cut.begin + len(cut.wave)) / self.sample_rate_hz
        self._recent.append((heard.probabilities[row], bool(heard.is_unknown[row]), begin))
        smoothed = np.mean([probabilities for probabilities, _, _ in self._recent], axis=0)
        is_unknown = 2 * sum(unknown for _, unknown, _ in self._recent) > len(self._recent)
        middle = (self._recent[0][2] + end) / 2
        edge = 0.0 if self._middle_seconds is None else (self._middle_seconds + middle) / 2
        events = tuple(self._events(smoothed, is_unknown, edge))
        self._middle_seconds, self._end_seconds = middle, end
        return Window(
            position=cut.position,
            begin_seconds=begin,
            end_seconds=end,
            middle_seconds=middle,
            label=self._label(heard.decided[row], bool(heard.is_unknown[row])),
            probabilities=heard.probabilities[row],
            novelty=float(heard.novelty[row]),
            is_unknown=bool(heard.is_unknown[row]),
            smoothed_label=self._label(self.calibration.decide(smoothed[None], self.kind)[0], is_unknown),
            smoothed=smoothed,
            events=events,
        )

    def finish(self) -> tuple[Event, ...]:
        """The ends of the events that are under way when the stream ends."""
        events = tuple(
            Event("end", self.labels[place], self._end_seconds, highest) for place, highest in self._under_way.items()
        )
        self._under_way.clear()
        return events

    def _label(self, decided: npt.NDArray[np.bool_], is_unknown: bool) -> str:
        if is_unknown:
            return UNKNOWN
        return joined(label for label, given in zip(self.labels, decided, strict=True) if given)

    def _events(self, smoothed: Array, is_unknown: bool, at_seconds: float) -> Iterator[Event]:
        sure = {
            place: probability
            for place, probability in enumerate(smoothed.tolist())
            if not is_unknown and probability >= self.settings.threshold
        }
        for place in sorted(self._under_way.keys() - sure.keys()):
            yield Event("end", self.labels[place], at_seconds, self._under_way.pop(place))
        for place, probability in sure.items():
            if place not in self._under_way:
                yield Event("begin", self.labels[place], at_seconds, probability)
            self._under_way[place] = max(probability, self._under_way.get(place, 0.0))
