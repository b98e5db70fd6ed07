"""A speaker's clips leave the log of served predictions."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tenuto.dataset import manifest
from tenuto.tracing import kept_audio, served
from tenuto.tracing.erasure import finding
from tenuto.tracing.erasure import served as erasure
from tenuto.tracing.erasure.identities import Identities
from tenuto.tracing.retention import Removed
from tenuto.tracing.served import Feedback, Served
from tests.recordings import coded, speechlike

AT = datetime(2026, 3, 3, 9, 30, tzinfo=UTC)
ANN = Identities(clips=("a" * 32,), groups=(("speaker", "ann"),))


def answered(log: Path, request_id: str, position: int = 0, speaker: str = "", **facts: object) -> None:
    name = kept_audio.name(request_id, position, AT)
    kept_audio.keep(served.audio_folder(log), name, coded(speechlike(1, 0.1)))
    row = Served(request_id=request_id, at=AT, model="m", version="1", label="up", probability=0.5, position=position)
    row = row.model_copy(update={"audio": name, **facts})
    served.add(log, [row, row.model_copy(update={"version": "2", "is_shadow": True})])
    if speaker:
        given = Feedback(request_id=request_id, position=position, label="up", at=AT, groups={"speaker": speaker})
        served.feedback(log, [given])


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "served.sqlite"
    answered(path, "heard", 0, speaker="ann")
    answered(path, "heard", 1, speaker="bob")
    answered(path, "imported", clip_id="a" * 32)
    answered(path, "visit-ann-7")
    answered(path, "annual-7", clip_id="b" * 32)
    return path


def test_her_clips_are_known_by_feedback_by_their_sound_and_by_name(log: Path) -> None:
    assert erasure.of(log, ANN) == [("heard", 0), ("imported", 0), ("visit-ann-7", 0)]
    assert erasure.of(log.with_name("none"), ANN) == []


def test_speakers_that_only_feedback_names_are_known(log: Path) -> None:
    answered(log, "kept", speaker="zoe", clip_id="c" * 32)
    table = erasure.known(log).sort_values("group_speaker")
    assert list(table["group_speaker"]) == ["ann", "bob", "zoe"]
    assert table["clip_id"].iloc[2] == "c" * 32 and table["clip_id"].str.len().eq(32).all()
    zoe = Identities.of(manifest.empty().pipe(finding.joined, table), ["c" * 32], [("speaker", "zoe")])
    assert erasure.of(log, zoe) == [("kept", 0)]
    assert len(erasure.known(log.with_name("none"))) == 0


def test_a_log_that_is_being_read_is_not_called_erased(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "BUSY_SECONDS", 0.05)
    with closing(sqlite3.connect(log, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM served").fetchone()
        with pytest.raises(sqlite3.OperationalError, match="a server is reading it"):
            erasure.erase(log, erasure.of(log, ANN))


def test_they_go_with_shadows_feedback_and_recordings_and_leave_no_readable_rest(log: Path) -> None:
    assert b"visit-ann-7" in b"".join(file.read_bytes() for file in log.parent.glob("served.sqlite*"))
    assert erasure.erase(log, erasure.of(log, ANN)) == Removed(predictions=6, feedback=1, recordings=3)
    assert erasure.of(log, ANN) == []
    table = served.frame(log)
    assert list(table["request_id"]) == ["annual-7", "annual-7", "heard", "heard"]
    assert list(table["true_label"]) == [None, None, "up", "up"]
    assert len(list(served.audio_folder(log).rglob("*.flac"))) == 2
    rest = b"".join(file.read_bytes() for file in log.parent.glob("served.sqlite*"))
    assert b"visit-ann-7" not in rest and b"a" * 32 not in rest and b'"ann"' not in rest
