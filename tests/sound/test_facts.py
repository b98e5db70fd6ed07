from __future__ import annotations

import pytest

from tenuto.errors import ClipError
from tenuto.settings import DataSettings
from tenuto.sound import facts
from tenuto.sound.facts import FactStore
from tests.recordings import RATE_HZ, speechlike, write


def test_a_file_is_decoded_once_whatever_its_name(tmp_path, monkeypatch):
    first, again = write(tmp_path / "a.wav", speechlike(1)), write(tmp_path / "b.wav", speechlike(1))
    store = FactStore(tmp_path / "cache", DataSettings())
    sha256, measured = store.read(first)
    assert measured["sample_rate_hz"] == RATE_HZ
    assert measured["codec"] == "WAV/PCM_16"
    store.flush()
    monkeypatch.setattr(facts.audio, "decode_file", lambda *_, **__: pytest.fail("decoded again"))
    remembered_sha256, remembered = FactStore(tmp_path / "cache", DataSettings()).read(again)
    assert (remembered_sha256, remembered) == (sha256, measured)


def test_facts_are_kept_as_they_come(tmp_path, monkeypatch):
    monkeypatch.setattr(facts, "_KEEP_EVERY_FILES", 2)
    store = FactStore(tmp_path / "cache", DataSettings())
    for seed in range(3):
        store.read(write(tmp_path / f"{seed}.wav", speechlike(seed)))
    assert len(FactStore(tmp_path / "cache", DataSettings())._store.load()) == 2


def test_a_store_that_is_only_read_writes_nothing(tmp_path):
    store = FactStore(tmp_path / "cache", DataSettings(), is_read_only=True)
    store.read(write(tmp_path / "a.wav", speechlike(1)))
    store.flush()
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (DataSettings(min_duration_seconds=0.7), "too-short"),
        (DataSettings(max_duration_seconds=0.5), "too-long"),
        (DataSettings(silence_dbfs=-5.0), "silent"),
    ],
)
def test_settings_judge_facts_that_are_kept_already(tmp_path, settings, reason):
    path = write(tmp_path / "a.wav", speechlike(1))
    store = FactStore(tmp_path / "cache", DataSettings())
    store.read(path)
    store.flush()
    with pytest.raises(ClipError) as caught:
        FactStore(tmp_path / "cache", settings).read(path)
    assert caught.value.reason == reason
