"""Recordings beside the log of served predictions."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from tenuto.errors import ClipError
from tenuto.sound import audio
from tenuto.sound.audio import Recording
from tenuto.tracing import kept_audio
from tests.recordings import RATE_HZ, coded, speechlike

AT = datetime(2026, 3, 3, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_what_is_kept_is_the_clip_that_was_sent(tmp_path: Path, subtype: str) -> None:
    sent = coded(np.clip(3 * speechlike(1), -1, 1), subtype=subtype)
    clip_id = kept_audio.keep(tmp_path, "2026-03-03/a.flac", sent)
    kept = audio.decode(tmp_path / "2026-03-03" / "a.flac")
    assert clip_id == audio.clip_id(kept) == audio.clip_id(audio.decode_bytes(sent))
    assert kept.codec == f"FLAC/{subtype}"


def test_samples_and_lossy_files_are_kept_to_16_bits(tmp_path: Path) -> None:
    wave = speechlike(1)[:, None]
    kept_audio.keep(tmp_path, "d/a.flac", Recording(wave, RATE_HZ, "samples", False))
    kept_audio.keep(tmp_path, "d/b.flac", coded(wave[:, 0], file_format="OGG", subtype="VORBIS"))
    assert {audio.decode(tmp_path / "d" / name).codec for name in ("a.flac", "b.flac")} == {"FLAC/PCM_16"}
    np.testing.assert_allclose(audio.decode(tmp_path / "d" / "a.flac").samples, wave, atol=0.5001 / 32768)


def test_garbage_and_too_many_channels_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match="not-audio"):
        kept_audio.keep(tmp_path, "d/a.flac", b"garbage")
    with pytest.raises(ClipError, match="9 channels at 16000 Hz, FLAC holds 8"):
        kept_audio.keep(tmp_path, "d/a.flac", Recording(np.zeros((4, 9), "f4"), RATE_HZ, "samples", False))
    with pytest.raises(ClipError, match="FLAC cannot hold it at 500001 Hz"):
        kept_audio.keep(tmp_path, "d/a.flac", Recording(np.zeros((4, 1), "f4"), 500_001, "samples", False))
    assert list(tmp_path.iterdir()) == []


def test_a_name_shows_the_day_and_nothing_of_the_request() -> None:
    name = kept_audio.name("../../ann", 0, AT)
    assert name.startswith("2026-03-03/") and "ann" not in name and ".." not in name
    later = kept_audio.name("../../ann", 0, AT + timedelta(microseconds=1))
    assert len({name, later, kept_audio.name("../../ann", 1, AT), kept_audio.name("../../bob", 0, AT)}) == 4


def test_old_recordings_and_half_written_ones_go(tmp_path: Path) -> None:
    for day, name in (("2026-03-01", "a.flac"), ("2026-03-02", "b.flac"), ("2026-03-02", "c.flac")):
        (tmp_path / day).mkdir(exist_ok=True)
        (tmp_path / day / name).touch()
    (tmp_path / "2026-03-01" / "d.part").touch()
    noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
    for name, time in (("b.flac", noon - timedelta(minutes=1)), ("c.flac", noon + timedelta(minutes=1))):
        os.utime(tmp_path / "2026-03-02" / name, (time.timestamp(), time.timestamp()))
    assert kept_audio.remove_before(tmp_path, noon) == 2
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["2026-03-02", "c.flac"]
    assert kept_audio.remove_before(tmp_path / "none", noon) == 0
