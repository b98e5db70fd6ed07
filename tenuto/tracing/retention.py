"""How long the log of served predictions keeps what it holds.

Feedback goes with its prediction, and a kept recording with both; a recording may also go before them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from tenuto.records import Record
from tenuto.tracing import kept_audio, served


class Removed(Record):
    """How much went."""

    predictions: int = 0
    feedback: int = 0
    recordings: int = 0


def purge(path: Path, *, keep_days: int, keep_audio_days: int, now: datetime | None = None) -> Removed:
    """Removes predictions and feedback older than `keep_days`, and recordings older than `keep_audio_days`.

    0 days of audio removes all recordings.
    """
    now = (now or datetime.now(UTC)).astimezone(UTC)
    # a day ahead, so that a clock that runs a little fast keeps nothing either
    audio_from = now - timedelta(days=min(keep_audio_days, keep_days)) if keep_audio_days else now + timedelta(days=1)
    recordings = kept_audio.remove_before(served.audio_folder(path), audio_from)
    if not path.is_file():
        return Removed(recordings=recordings)
    bounds = [served.text(audio_from), served.text(now - timedelta(days=keep_days))]
    with served.opened(path) as log:
        log.execute("UPDATE served SET audio = NULL WHERE audio IS NOT NULL AND at < ?", bounds[:1])
        predictions = log.execute("DELETE FROM served WHERE at < ?", bounds[1:]).rowcount
        feedback = log.execute(
            "DELETE FROM feedback WHERE NOT EXISTS (SELECT 1 FROM served WHERE served.request_id = feedback.request_id "
            "AND served.position = feedback.position)"
        ).rowcount
    return Removed(predictions=predictions, feedback=feedback, recordings=recordings)
