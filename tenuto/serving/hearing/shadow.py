"""The challenger listens: a share of the requests is heard by it too, after they were answered, and only noted.

One thread, in moments in which nobody's answer is being worked on and at the lowest priority, so that no answer comes
later for it. What there is no time for is left out and counted: the comparison then rests on fewer requests, never on
slower ones.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import zlib
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from tenuto.serving.endpoints.answering import Notes, answers_of
from tenuto.serving.endpoints.sounds import Decoded
from tenuto.serving.hearing.batching import Batcher
from tenuto.serving.hearing.models import Model
from tenuto.serving.metrics import Metrics

log = logging.getLogger(__name__)

_LOWEST_PRIORITY = 19
_LOOK_AGAIN_SECONDS = 0.002
_MOST_BYTES = 64 << 20
_Job = tuple[str, Model, Sequence[Decoded]]


class Shadow:
    """Hears `share` of the requests with the challenger."""

    def __init__(self, share: float, batcher: Batcher, notes: Notes, metrics: Metrics, *, max_waiting: int) -> None:
        self._share = share
        self._batcher = batcher
        self._notes = notes
        self._metrics = metrics
        self._max_waiting = max_waiting
        self._jobs: deque[_Job] = deque()
        self._clips = 0
        self._bytes = 0
        self._changed = threading.Condition()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._work, name="challenges", daemon=True)

    def start(self) -> None:
        if self._share:
            self._thread.start()

    def stop(self) -> None:
        """What waits is left out."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join()

    def put(self, request_id: str, challenger: Model | None, clips: Sequence[Decoded]) -> None:
        """Takes a request that the champion has answered, if it is one of the share. Never waits."""
        if challenger is None or not is_drawn(request_id, self._share):
            return
        clips = [clip.needed_at(challenger.classifier.framing) for clip in clips]
        size_bytes = _size_bytes(clips)
        with self._changed:
            has_room = self._clips + len(clips) <= self._max_waiting and self._bytes + size_bytes <= _MOST_BYTES
            if has_room and not self._is_stopped:
                self._jobs.append((request_id, challenger, clips))
                self._clips += len(clips)
                self._bytes += size_bytes
                self._changed.notify()
            else:
                self._metrics.left_out(len(clips))

    def _work(self) -> None:
        with suppress(OSError, AttributeError):  # only Linux gives threads priorities of their own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
        while job := self._next():
            try:
                self._hear(*job)
            except Exception:  # the answer was given; nothing of the challenger's may end the thread
                log.exception("the challenger could not hear request %s", job[0])

    def _next(self) -> _Job | None:
        """The next request, once nobody else's is worked on; None after `stop`."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._is_stopped)
                if self._is_stopped:
                    return None
                if self._batcher.is_idle:
                    job = self._jobs.popleft()
                    self._clips -= len(job[2])
                    self._bytes -= _size_bytes(job[2])
                    return job
            time.sleep(_LOOK_AGAIN_SECONDS)

    def _hear(self, request_id: str, model: Model, clips: Sequence[Decoded]) -> None:
        waves = [clip.at(model.classifier.framing) for clip in clips]
        started = time.perf_counter()
        heard = model.classifier.hear(waves)
        latency_ms = (time.perf_counter() - started) * 1000
        self._notes.put(answers_of(request_id, model, clips, heard, latency_ms), clips, heard, is_shadow=True)


def _size_bytes(clips: Sequence[Decoded]) -> int:
    return sum(clip.size_bytes for clip in clips)


def is_drawn(request_id: str, share: float) -> bool:
    """Whether a request is one of the share; the same for the same id."""
    return zlib.crc32(request_id.encode()) < share * 2**32
