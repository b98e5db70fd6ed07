from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest

from tenuto.errors import ClipError
from tenuto.sound import audio
from tests.recordings import RATE_HZ, coded, speechlike, write


def tone(frequency_hz: float, seconds: float = 0.5, rate_hz: int = RATE_HZ, amplitude: float = 0.5) -> audio.Wave:
    return (amplitude * np.sin(2 * np.pi * frequency_hz * np.arange(int(seconds * rate_hz)) / rate_hz)).astype("f4")


@pytest.mark.parametrize(
    ("file_format", "subtype", "codec", "tolerance"),
    [
        ("WAV", "PCM_16", "WAV/PCM_16", 1 / 32768),
        ("WAV", "FLOAT", "WAV/FLOAT", 0),
        ("FLAC", "PCM_24", "FLAC/PCM_24", 1e-6),
        ("OGG", "VORBIS", "OGG/VORBIS", 0.05),
        ("OGG", "OPUS", "OGG/OPUS", 0.08),
        ("MP3", "MPEG_LAYER_III", "MP3/MPEG_LAYER_III", 0.05),
    ],
)
def test_every_format_gives_the_samples_back(tmp_path, file_format, subtype, codec, tolerance):
    wave = tone(440)
    recording = audio.decode(write(tmp_path / "clip", wave, file_format=file_format, subtype=subtype))
    assert (recording.codec, recording.sample_rate_hz, recording.channels) == (codec, RATE_HZ, 1)
    assert recording.samples.dtype == np.float32
    assert not recording.is_truncated
    assert recording.duration_seconds == pytest.approx(0.5)
    np.testing.assert_allclose(recording.samples[800:-800, 0], wave[800:-800], atol=tolerance)


def test_many_channels_and_any_rate():
    samples = np.stack([tone(440, rate_hz=11_025), tone(880, rate_hz=11_025), tone(220, rate_hz=11_025)], axis=1)
    recording = audio.decode_bytes(coded(samples, 11_025, subtype="FLOAT"))
    assert recording.sample_rate_hz == 11_025
    np.testing.assert_array_equal(recording.samples, samples)


@pytest.mark.parametrize("kind", [("WAV", None), ("FLAC", None), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)])
def test_a_file_cut_in_the_middle_gives_what_is_there(kind, capfd):
    whole = coded(speechlike(1, 3.0), RATE_HZ, *kind)
    recording = audio.decode_bytes(whole[: len(whole) * 6 // 10])
    assert recording.is_truncated
    assert 0.5 < recording.duration_seconds < 2.9


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0xFFFFF000])
def test_a_wav_written_to_a_pipe_is_not_truncated(size):
    data = bytearray(coded(tone(440)))
    assert data[36:40] == b"data"
    data[40:44] = struct.pack("<I", size)
    recording = audio.decode_bytes(bytes(data))
    assert not recording.is_truncated
    assert recording.duration_seconds == pytest.approx(0.5)


def test_chunks_before_and_after_the_samples_do_not_look_like_truncation():
    data = coded(tone(440))
    tagged = (
        data[:36] + b"LIST" + struct.pack("<I", 5) + b"INFO!\0" + data[36:] + b"LIST" + struct.pack("<I", 4) + b"INFO"
    )
    assert not audio.decode_bytes(tagged).is_truncated
    assert audio.decode_bytes(tagged[: len(data) - 100]).is_truncated


@pytest.mark.parametrize(
    ("data", "reason", "detail"),
    [
        (b"", "empty-file", "0 bytes"),
        (b"these are words, not samples\n" * 20, "not-audio", "begins with 'thes'"),
        (coded(tone(440))[:20], "damaged-header", "begins like audio"),
        (coded(tone(440))[:44], "no-samples", "WAV"),
        (coded(tone(440), file_format="FLAC")[:300], "decode-failed", "."),
        (coded(np.array([0.1, np.nan, np.inf], "f4"), subtype="FLOAT"), "not-finite", "2 of 3"),
        (coded(np.array([0.1, -2e38, 0.2], "f4"), subtype="FLOAT"), "impossible-level", "where full scale is 1"),
        (coded(tone(5, rate_hz=1_000), 1_000), "impossible-rate", "1000 Hz"),
    ],
)
def test_what_is_no_recording_is_refused_with_its_reason(data, reason, detail):
    with pytest.raises(ClipError, match=detail) as caught:
        audio.decode_bytes(data)
    assert caught.value.reason == reason


def test_a_long_file_is_refused_before_its_samples_are_read(monkeypatch):
    data = coded(np.zeros(RATE_HZ * 60, "f4"))
    monkeypatch.setattr(audio, "_read_frames", lambda *_: pytest.fail("samples were read"))
    with pytest.raises(ClipError, match=r"60\.0 s, at most 59 s"):
        audio.decode_bytes(data, max_duration_seconds=59)


def test_many_channels_at_a_high_rate_are_refused_before_they_are_read(monkeypatch):
    data = coded(np.zeros((48_000, 4), "f4"), 96_000)
    assert audio.decode_bytes(data, max_samples=192_000).channels == 4
    monkeypatch.setattr(audio, "_read_frames", lambda *_: pytest.fail("samples were read"))
    with pytest.raises(ClipError, match=r"too-large: 4 channels of 0\.5 s at 96,000 Hz are 192,000 samples, at most 1"):
        audio.decode_bytes(data, max_samples=191_999)


def test_a_header_that_announces_more_than_memory_holds_is_harmless():
    data = bytearray(coded(tone(440, 2.0), file_format="FLAC"))
    data[22:26] = b"\xff" * 4
    assert audio.decode_bytes(bytes(data)).is_truncated


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    for name, reason in (("absent.wav", "missing-file"), (".", "not-a-file"), ("pipe.wav", "not-a-file")):
        with pytest.raises(ClipError) as caught:
            audio.decode(tmp_path / name)
        assert caught.value.reason == reason


def test_a_file_without_read_permission_is_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "a.wav", tone(440))

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(audio.os, "open", refuse)
    with pytest.raises(ClipError, match="Permission denied") as caught:
        audio.decode(path)
    assert caught.value.reason == "unreadable"


def test_mono_is_the_mean_of_the_channels_that_carry_sound():
    left, right = tone(440), tone(880, amplitude=0.3)
    np.testing.assert_allclose(audio.mono(np.stack([left, right], 1)), (left + right) / 2, atol=1e-7)
    np.testing.assert_array_equal(audio.mono(np.stack([left, np.zeros_like(left)], 1)), left)
    np.testing.assert_array_equal(audio.mono(left[:, None]), left)
    np.testing.assert_array_equal(audio.mono(np.zeros((5, 2), "f4")), np.zeros(5, "f4"))


def test_channels_in_opposite_phase_do_not_cancel():
    wave = tone(440)
    np.testing.assert_array_equal(audio.mono(np.stack([wave, -wave], 1)), wave)


def test_resampling_keeps_a_tone_and_its_length():
    resampled = audio.resample(tone(440, rate_hz=44_100), 44_100, RATE_HZ)
    assert len(resampled) == RATE_HZ // 2
    np.testing.assert_allclose(resampled[500:-500], tone(440)[500:-500], atol=1e-3)
    wave = tone(440)
    assert audio.resample(wave, RATE_HZ, RATE_HZ) is wave


def test_a_waveform_has_no_offset_and_stays_within_full_scale():
    samples = (2.0 * tone(440) + 0.3)[:, None].astype("f4")
    wave = audio.waveform(audio.Recording(samples, RATE_HZ, "", False), RATE_HZ)
    assert abs(wave.mean()) < 1e-5
    assert np.abs(wave).max() == pytest.approx(1.0)
    assert wave.dtype == np.float32


def test_loudness_stays_as_recorded_and_silence_stays_silent():
    quiet = audio.waveform(audio.Recording(tone(440, amplitude=0.01)[:, None], RATE_HZ, "", False), RATE_HZ)
    assert np.abs(quiet).max() == pytest.approx(0.01, rel=1e-3)
    silent = audio.waveform(audio.Recording(np.zeros((800, 2), "f4"), 8_000, "", False), RATE_HZ)
    np.testing.assert_array_equal(silent, np.zeros(1600, "f4"))


def test_a_file_and_its_bytes_give_the_same_waveform(tmp_path: Path):
    path = write(tmp_path / "a.flac", np.stack([speechlike(1), speechlike(2)], 1), file_format="FLAC")
    from_bytes = audio.waveform(audio.decode_bytes(path.read_bytes()), 8_000)
    np.testing.assert_array_equal(audio.load_waveform(path, 8_000), from_bytes)


def test_encoded_wav_decodes_to_the_same_wave():
    wave = speechlike(3)
    recording = audio.decode_bytes(audio.encode_wav(wave, RATE_HZ))
    assert recording.codec == "WAV/PCM_16"
    np.testing.assert_allclose(recording.samples[:, 0], wave, atol=1 / 32768)
    assert np.abs(audio.decode_bytes(audio.encode_wav(3 * wave, RATE_HZ)).samples).max() <= 1


def test_identity_is_of_the_samples_not_of_the_file():
    wave = np.round(speechlike(1) * 32767) / 32768
    wav = audio.clip_id(audio.decode_bytes(coded(wave)))
    assert len(wav) == 32
    assert audio.clip_id(audio.decode_bytes(coded(wave, file_format="FLAC"))) == wav
    assert audio.clip_id(audio.decode_bytes(coded(wave, subtype="PCM_24"))) == wav
    tagged = coded(wave) + b"LIST\x04\0\0\0INFO"
    assert audio.clip_id(audio.decode_bytes(tagged)) == wav


def test_identity_depends_on_rate_channels_and_every_sample():
    wave = speechlike(1)
    louder = wave.copy()
    louder[-1] += 0.01
    recordings = [
        audio.Recording(wave[:, None], RATE_HZ, "", False),
        audio.Recording(wave[:, None], 8_000, "", False),
        audio.Recording(wave.reshape(-1, 2), RATE_HZ, "", False),
        audio.Recording(louder[:, None], RATE_HZ, "", False),
    ]
    assert len({audio.clip_id(recording) for recording in recordings}) == 4
