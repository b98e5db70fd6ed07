"""How long the log of served predictions keeps what it holds."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tenuto.tracing import kept_audio, retention, served
from tenuto.tracing.retention import Removed
from tenuto.tracing.served import Feedback, Served
from tests.recordings import coded, speechlike

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Answers of the last ten days, each with feedback and a recording."""
    path = tmp_path / "served.sqlite"
    for days in range(10):
        at = NOW - timedelta(days=days)
        name = kept_audio.name(f"r{days}", 0, at)
        kept_audio.keep(served.audio_folder(path), name, coded(speechlike(days, 0.1)))
        os.utime(served.audio_folder(path) / name, (at.timestamp(), at.timestamp()))
        row = Served(request_id=f"r{days}", at=at, model="m", version="1", label="up", probability=0.5, audio=name)
        served.record(path, row)
        served.feedback(path, [Feedback(request_id=f"r{days}", label="up", at=at)])
    return path


def recordings(log: Path) -> int:
    return len(list(served.audio_folder(log).rglob("*.flac")))


def test_predictions_go_with_their_feedback_and_recordings(log: Path) -> None:
    removed = retention.purge(log, keep_days=7, keep_audio_days=30, now=NOW)
    assert removed == Removed(predictions=2, feedback=2, recordings=2)
    assert list(served.frame(log)["request_id"]) == [f"r{days}" for days in reversed(range(8))]
    assert recordings(log) == 8


def test_recordings_go_before_their_predictions(log: Path) -> None:
    removed = retention.purge(log, keep_days=365, keep_audio_days=3, now=NOW)
    assert removed == Removed(recordings=6)
    table = served.frame(log)
    assert len(table) == 10 and recordings(log) == 4
    assert [name is not None for name in table["audio"]] == [False] * 6 + [True] * 4
    assert all((served.audio_folder(log) / name).is_file() for name in table["audio"].dropna())


def test_without_consent_no_recording_stays(log: Path) -> None:
    assert retention.purge(log, keep_days=365, keep_audio_days=0, now=NOW) == Removed(recordings=10)
    assert recordings(log) == 0 and served.frame(log)["audio"].isna().all()


def test_no_log_is_nothing_to_purge(tmp_path: Path) -> None:
    assert retention.purge(tmp_path / "served.sqlite", keep_days=1, keep_audio_days=1) == Removed()
    assert list(tmp_path.iterdir()) == []
