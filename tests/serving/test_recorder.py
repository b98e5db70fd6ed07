"""The background writer of the log of served predictions."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tenuto.serving.recorder import Recorder
from tenuto.serving.settings import LogSettings
from tenuto.sound import audio
from tenuto.tracing import served
from tenuto.tracing.served import Served
from tests.recordings import coded, speechlike


def row(request_id: str) -> Served:
    return Served(request_id=request_id, at=datetime.now(UTC), model="m", version="1", label="up", probability=0.5)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "served.sqlite"


def test_what_is_put_is_on_disk_after_a_flush_and_after_a_stop(log: Path) -> None:
    recorder = Recorder(log, LogSettings())
    recorder.start()
    recorder.put([row("a"), row("b")])
    assert recorder.flush()
    assert list(served.frame(log)["request_id"]) == ["a", "b"]
    recorder.put([row("c")])
    recorder.stop()
    assert recorder.written == len(served.frame(log)) == 3
    recorder.put([row("d")])
    assert (recorder.written, recorder.dropped) == (3, 1)


def test_a_full_queue_drops_and_counts_and_does_not_wait(log: Path) -> None:
    recorder = Recorder(log, LogSettings(), most_rows=10)  # not started: nobody writes
    began = time.perf_counter()
    for number in range(1000):
        recorder.put([row(str(number))])
    assert time.perf_counter() - began < 5
    assert recorder.dropped == 990


def test_recordings_are_kept_only_when_the_settings_say_so(log: Path) -> None:
    sent = coded(speechlike(1))
    for days, kept in ((0, 0), (7, 1)):
        recorder = Recorder(log, LogSettings(keep_audio_days=days))
        recorder.start()
        recorder.put([row(f"keeps-{days}")], [sent])
        recorder.stop()
        assert len(list(served.audio_folder(log).rglob("*"))) == 2 * kept
    found = served.find(log, "keeps-7")
    assert found.audio and found.clip_id == audio.clip_id(audio.decode_bytes(sent))
    assert audio.clip_id(audio.decode(served.audio_folder(log) / found.audio)) == found.clip_id
    assert served.find(log, "keeps-0").audio is None


def test_a_request_id_that_is_used_again_costs_no_recording_of_the_first(
    log: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder(log, LogSettings(keep_audio_days=7))
    recorder.start()
    for seed in (1, 2, 3):
        recorder.put([row("call-1")], [coded(speechlike(seed))])
        assert recorder.flush()
    recorder.stop()
    assert (recorder.written, recorder.dropped) == (1, 2)
    assert "their request ids were used before" in caplog.text
    found = served.find(log, "call-1")
    (kept,) = served.audio_folder(log).rglob("*.flac")
    assert kept == served.audio_folder(log) / str(found.audio)
    assert audio.clip_id(audio.decode(kept)) == audio.clip_id(audio.decode_bytes(coded(speechlike(1))))


def test_sound_that_cannot_be_kept_costs_the_recording_and_not_the_prediction(log: Path) -> None:
    recorder = Recorder(log, LogSettings(keep_audio_days=7))
    recorder.start()
    recorder.put([row("a"), row("b")], [b"garbage", bytes(65 << 20)])
    recorder.stop()
    assert (recorder.written, recorder.dropped, recorder.dropped_recordings) == (2, 0, 2)
    assert served.find(log, "a").audio is None


def test_a_log_that_cannot_be_written_drops_and_the_next_batch_is_tried(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, calls = served.add, []

    def refuse_once(path: Path, rows: list[Served]) -> int:
        calls.append(len(rows))
        if len(calls) == 1:
            raise sqlite3.OperationalError("database or disk is full")
        return add(path, rows)

    monkeypatch.setattr(served, "add", refuse_once)
    recorder = Recorder(log, LogSettings(keep_audio_days=7))
    recorder.start()
    for name in "ab":
        recorder.put([row(name)], [coded(speechlike(1))])
        assert recorder.flush()
    recorder.stop()
    assert (recorder.written, recorder.dropped) == (1, 1)
    assert list(served.frame(log)["request_id"]) == ["b"]
    assert len(list(served.audio_folder(log).rglob("*.flac"))) == 1


def test_what_nobody_foresaw_does_not_end_the_log(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(log, LogSettings())
    recorder.start()
    with monkeypatch.context() as broken:
        broken.setattr(served, "add", lambda *_: 1 / 0)
        recorder.put([row("a")])
        recorder.flush()
    recorder.put([row("b")])
    recorder.stop()
    assert (recorder.written, recorder.dropped) == (1, 1)
    assert served.find(log, "b").request_id == "b"


def test_without_a_log_nothing_is_written(log: Path) -> None:
    recorder = Recorder(log, LogSettings(is_on=False))
    recorder.start()
    recorder.put([row("a")])
    assert recorder.flush()
    recorder.stop()
    assert not log.exists() and recorder.dropped == 0


_ENDLESS = """
import sys
from pathlib import Path
from tenuto.serving.recorder import Recorder
from tenuto.serving.settings import LogSettings
from tests.recordings import coded, speechlike
from tests.serving.test_recorder import row
recorder, sent = Recorder(Path(sys.argv[1]), LogSettings(keep_audio_days=7)), coded(speechlike(1))
recorder.start()
for number in range(10**9):
    recorder.put([row(f"{number}-{clip}").model_copy(update={"position": clip}) for clip in range(5)], [sent] * 5)
    if number % 50 == 0:
        recorder.flush()
"""


def test_a_killed_server_leaves_whole_predictions(log: Path) -> None:
    process = subprocess.Popen([sys.executable, "-P", "-c", _ENDLESS, str(log)])
    try:
        limit = time.monotonic() + 60
        while time.monotonic() < limit and (not log.exists() or len(served.frame(log)) < 500):
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    table = served.frame(log)
    assert len(table) >= 500
    with served.opened(log) as database:
        assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    for name in table["audio"].sample(20, random_state=0):
        assert not audio.decode(served.audio_folder(log) / name).is_truncated
    served.add(log, [row("next")])
