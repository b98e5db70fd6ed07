"""Writes what was served into the log (`tenuto.tracing.served`), in the background: no answer ever waits for it.

What is to be written waits in a queue with a bound on its predictions and on its bytes of sound. Above it predictions
or their recordings are dropped and counted. A batch is one transaction, so a server that is killed leaves whole
predictions; at most those of the last moment are missing.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tenuto.errors import ClipError
from tenuto.serving.answers import Answer
from tenuto.serving.hearing.classifier import Heard
from tenuto.serving.settings import LogSettings
from tenuto.tracing import kept_audio, retention, served
from tenuto.tracing.kept_audio import Sound
from tenuto.tracing.served import Served

if TYPE_CHECKING:
    from tenuto.serving.endpoints.sounds import Decoded

log = logging.getLogger(__name__)

_MOST_ROWS = 10_000
_MOST_SOUND_BYTES = 64 << 20
_BATCH_ROWS = 500
_GATHER_SECONDS = 0.2
_PURGE_SECONDS = 3600.0


@dataclass(frozen=True)
class _Waiting:
    row: Served
    sound: Sound | None

    @property
    def sound_bytes(self) -> int:
        return kept_audio.size_bytes(self.sound)


def rows_of(
    answers: Sequence[Answer],
    clips: Sequence[Decoded],
    heard: Heard,
    *,
    is_shadow: bool = False,
    window: int | None = None,
) -> list[Served]:
    """What is kept of the answers to clips of one request, or to windows of a stream from its number `window` on."""
    at = datetime.now(UTC)
    return [
        Served(
            request_id=answer.request_id,
            position=(window or 0) + position,
            at=at,
            model=answer.model.name,
            version=answer.model.version,
            alias=answer.model.alias,
            artefact=answer.model.artefact,
            label=answer.label,
            probability=answer.probability,
            probabilities=answer.probabilities,
            is_unknown=answer.is_unknown,
            novelty=answer.novelty,
            embedding=tuple(heard.embeddings[position].tolist()),
            duration_seconds=answer.duration_seconds,
            level_dbfs=clips[position].level_dbfs,
            latency_ms=answer.latency_ms,
            is_shadow=is_shadow,
            is_window=window is not None,
        )
        for position, answer in enumerate(answers)
    ]


class Recorder:
    """The log at `path` and a thread that fills it and keeps to its retention; `put` may be called from any thread."""

    def __init__(self, path: Path, settings: LogSettings, *, most_rows: int = _MOST_ROWS) -> None:
        self.path = path
        self.written = 0
        self.dropped = 0
        """Predictions that are in no log: the queue was full, or the disk, or their request id was used before."""
        self.dropped_recordings = 0
        self._settings = settings
        self._audio = served.audio_folder(path)
        self._most_rows = most_rows
        self._queue: deque[_Waiting] = deque()
        self._sound_bytes = 0
        self._is_writing = False
        self._is_hurried = False
        self._is_stopped = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="records", daemon=True)

    def start(self) -> None:
        if self._settings.is_on:
            self._thread.start()

    def put(self, rows: Sequence[Served], sounds: Sequence[Sound | None] = ()) -> None:
        """Take predictions and, in the same order, their clips; the latter only matter when recordings are kept.

        Never waits and never raises. What does not fit is counted in `dropped` or `dropped_recordings`.
        """
        if not self._settings.is_on:
            return
        kept = sounds if sounds and self._settings.keep_audio_days else [None] * len(rows)
        with self._changed:
            if self._is_stopped or len(self._queue) + len(rows) > self._most_rows:
                self.dropped += len(rows)
                return
            is_awaited = not self._queue
            for row, sound in zip(rows, kept, strict=True):
                self._append(_Waiting(row, sound))
            if is_awaited or self._is_due():  # to wake the thread for each row would cost more than to write it
                self._changed.notify_all()

    def flush(self, timeout_seconds: float = 5.0) -> bool:
        """Return once all that was put before is written, or False after the timeout."""
        with self._changed:
            self._is_hurried = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._queue and not self._is_writing, timeout_seconds)

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """Write what waits and end; what is put from now on is dropped."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout_seconds)

    def _append(self, waiting: _Waiting) -> None:
        if self._sound_bytes + waiting.sound_bytes > _MOST_SOUND_BYTES:
            self.dropped_recordings += 1
            waiting = _Waiting(waiting.row, None)
        self._sound_bytes += waiting.sound_bytes
        self._queue.append(waiting)

    def _work(self) -> None:
        purge_at = 0.0
        while True:
            if time.monotonic() >= purge_at:
                self._purge()
                purge_at = time.monotonic() + _PURGE_SECONDS
            batch = self._next(purge_at - time.monotonic())
            if batch:
                self._write_or_drop(batch)
            elif self._is_stopped:
                return

    def _next(self, timeout_seconds: float) -> list[_Waiting]:
        """What is to be written now; nothing after the timeout, and when there will be no more."""
        with self._changed:
            self._is_writing = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._queue or self._is_stopped, max(timeout_seconds, 0))
            if self._queue:
                # few large transactions cost less than many small ones
                self._changed.wait_for(self._is_due, _GATHER_SECONDS)
            taken = [self._queue.popleft() for _ in range(min(len(self._queue), _BATCH_ROWS))]
            self._sound_bytes -= sum(waiting.sound_bytes for waiting in taken)
            self._is_writing = bool(taken)
            self._is_hurried = self._is_hurried and bool(self._queue)
            return taken

    def _is_due(self) -> bool:
        return self._is_stopped or self._is_hurried or len(self._queue) >= _BATCH_ROWS

    def _write_or_drop(self, batch: Sequence[_Waiting]) -> None:
        """A batch that nobody foresaw must not end the thread, and with it the log."""
        try:
            self._write(batch)
        except Exception:
            self.dropped += len(batch)
            log.exception("%d predictions could not be written to %s", len(batch), self.path)

    def _write(self, batch: Sequence[_Waiting]) -> None:
        rows = [self._with_audio(waiting) for waiting in batch]
        names = [row.audio for row in rows if row.audio]
        try:
            written = served.add(self.path, rows)
            self.written += written
            if written == len(rows):
                return
            kept_audio.remove(self._audio, set(names) - served.audio_on_record(self.path, rows))
            why = "their request ids were used before"
        except (OSError, sqlite3.Error) as error:
            written, why = 0, str(error)
            with suppress(OSError):  # retention goes by the files
                kept_audio.remove(self._audio, names)
        self.dropped += len(rows) - written
        log.warning("%d predictions could not be written to %s: %s", len(rows) - written, self.path, why)

    def _with_audio(self, waiting: _Waiting) -> Served:
        row, sound = waiting.row, waiting.sound
        if sound is None:
            return row
        name = kept_audio.name(row.request_id, row.position, row.at)
        try:
            clip_id = kept_audio.keep(self._audio, name, sound)
        except (ClipError, OSError) as error:
            self.dropped_recordings += 1
            log.warning("the recording of request %s could not be kept: %s", row.request_id, error)
            return row
        return row.model_copy(update={"audio": name, "clip_id": clip_id})

    def _purge(self) -> None:
        keeps = self._settings
        with suppress(OSError, sqlite3.Error):  # it is tried again
            retention.purge(self.path, keep_days=keeps.keep_days, keep_audio_days=keeps.keep_audio_days)
