"""Dynamic batching: clips of different requests that arrive together are heard together, by a few threads.

Only clips that a model hears alike share a batch (`Framing.bucket`), so an answer does not depend on who else asked.
When nothing else is being heard, a clip is heard at once; otherwise it waits for others, `max_wait_ms` at most, and for
a thread. The clip that has waited longest goes first. ONNX Runtime, like decoding, runs outside Python's lock.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from tenuto.learning.framing import Wave
from tenuto.serving.hearing.classifier import Classifier, Heard
from tenuto.serving.metrics import Metrics
from tenuto.serving.settings import BatchSettings

_Bucket = tuple[Classifier, int]


class BusyError(Exception):
    """Too many clips are waiting already."""


@dataclass(eq=False)
class _Question:
    """The clips of one call, answered once all of them are heard."""

    clips: int
    parts: dict[int, Heard] = field(default_factory=dict)
    answer: Future[Heard] = field(default_factory=Future)

    def put(self, position: int, part: Heard) -> None:
        self.parts[position] = part
        if len(self.parts) == self.clips and not self.answer.done():
            self.answer.set_result(Heard.joined([self.parts[n] for n in range(self.clips)]))

    def fail(self, error: BaseException) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


@dataclass(eq=False)
class _Clip:
    wave: Wave
    question: _Question
    position: int
    arrived: float


class Batcher:
    """Threads that hear clips in batches; each runs one batch at a time on one core."""

    def __init__(
        self,
        settings: BatchSettings,
        *,
        max_waiting: int,
        threads: int = 1,
        metrics: Metrics | None = None,
    ) -> None:
        self._settings = settings
        self._max_waiting = max_waiting
        self._metrics = metrics
        self._waiting: dict[_Bucket, deque[_Clip]] = {}
        self._changed = threading.Condition()
        self._busy = 0
        self._is_stopped = False
        self._threads = [threading.Thread(target=self._work, name=f"hears-{n}", daemon=True) for n in range(threads)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Returns when all that waited is heard; nothing can be asked any more."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    @property
    def waiting(self) -> int:
        """Clips that nobody hears yet."""
        return sum(len(clips) for clips in list(self._waiting.values()))

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is heard."""
        return not self._busy and not self._waiting

    async def hear(self, classifier: Classifier, waves: Sequence[Wave]) -> Heard:
        """What `Classifier.hear` gives for the waves; raises BusyError when too many clips are waiting."""
        return await asyncio.wrap_future(self.submit(classifier, waves))

    def submit(self, classifier: Classifier, waves: Sequence[Wave]) -> Future[Heard]:
        """The same, for those who do not wait; raises BusyError at once."""
        question = _Question(len(waves))
        # from now on nobody can cancel it: its clips are in batches with others
        question.answer.set_running_or_notify_cancel()
        now = time.perf_counter()
        clips = [_Clip(wave, question, position, now) for position, wave in enumerate(waves)]
        buckets = [classifier.framing.bucket(len(wave)) for wave in waves]
        with self._changed:
            if self._is_stopped or self.waiting + len(clips) > self._max_waiting:
                raise BusyError
            for bucket, clip in zip(buckets, clips, strict=True):
                self._waiting.setdefault((classifier, bucket), deque()).append(clip)
            self._changed.notify(len(clips))
        if not clips:
            question.answer.set_result(classifier.hear([]))
        return question.answer

    def _work(self) -> None:
        while batch := self._next():
            classifier, clips = batch
            self._hear(classifier, clips)
            with self._changed:
                self._busy -= 1
                self._changed.notify()

    def _next(self) -> tuple[Classifier, list[_Clip]] | None:
        """The next batch, and one more thread counts as busy; None after `stop`."""
        with self._changed:
            while True:
                bucket, seconds = self._oldest()
                if bucket is not None and seconds <= 0:
                    self._busy += 1
                    return bucket[0], self._taken(bucket)
                if bucket is None and self._is_stopped:
                    return None
                self._changed.wait(None if bucket is None else seconds)

    def _oldest(self) -> tuple[_Bucket | None, float]:
        """The bucket whose first clip goes next, and for how many seconds it may still wait for others."""
        best: tuple[float, _Bucket] | None = None
        for bucket, clips in self._waiting.items():
            is_full = len(clips) >= self._settings.max_clips
            waits = 0.0 if is_full or not self._busy or self._is_stopped else self._settings.max_wait_ms / 1000
            due = clips[0].arrived + waits
            if best is None or due < best[0]:
                best = due, bucket
        return (best[1], best[0] - time.perf_counter()) if best else (None, 0.0)

    def _taken(self, bucket: _Bucket) -> list[_Clip]:
        clips = self._waiting[bucket]
        taken = [clips.popleft() for _ in range(min(len(clips), self._settings.max_clips))]
        if not clips:
            del self._waiting[bucket]
        return taken

    def _hear(self, classifier: Classifier, clips: list[_Clip]) -> None:
        started = time.perf_counter()
        try:
            heard = classifier.hear([clip.wave for clip in clips])
        except Exception as error:  # whatever it is, those who wait must hear of it
            for clip in clips:
                clip.question.fail(error)
            return
        if self._metrics:
            self._metrics.heard(len(clips), time.perf_counter() - started)
        for place, clip in enumerate(clips):
            with self._changed:
                clip.question.put(clip.position, heard.rows(place, place + 1))
