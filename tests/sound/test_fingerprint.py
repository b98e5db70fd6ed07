from __future__ import annotations

import itertools
import time
from pathlib import Path

import numpy as np
import pytest

from tenuto.sound import audio
from tenuto.sound.fingerprint import fingerprint, near_duplicates, same_recording
from tests.recordings import RATE_HZ, coded, speechlike


def recoded(wave: audio.Wave, *kind: str, rate_hz: int = RATE_HZ) -> audio.Wave:
    return audio.decode_bytes(coded(wave, rate_hz, *kind)).samples[:, 0]


def with_noise(wave: audio.Wave, snr_db: float) -> audio.Wave:
    noise = np.random.default_rng(0).standard_normal(len(wave))
    return (wave + noise * wave.std() * 10 ** (-snr_db / 20)).astype("f4")


COPIES = {
    "quieter": lambda wave: 0.1 * wave,
    "inverted": lambda wave: -wave,
    "ogg": lambda wave: recoded(wave, "OGG", "VORBIS"),
    "opus": lambda wave: recoded(wave, "OGG", "OPUS"),
    "mp3": lambda wave: recoded(wave, "MP3"),
    "u-law": lambda wave: recoded(wave, "WAV", "ULAW"),
    "cut at both ends": lambda wave: wave[len(wave) // 20 : -len(wave) // 20],
    "cut, quieter, mp3": lambda wave: recoded(0.5 * wave[123:], "MP3"),
    "leading silence": lambda wave: np.concatenate([np.zeros(3_000, "f4"), wave]),
    "some noise": lambda wave: with_noise(wave, 30),
}


@pytest.mark.parametrize("change", COPIES.values(), ids=COPIES.keys())
@pytest.mark.parametrize("seconds", [0.4, 1.5])
def test_a_changed_copy_is_found(change, seconds):
    waves = [speechlike(seed, seconds) for seed in range(5)]
    copy = change(waves[3])
    prints = [fingerprint(wave, RATE_HZ) for wave in waves]
    assert near_duplicates([fingerprint(copy, RATE_HZ)], prints) == [(3, 5)]
    assert same_recording(waves[3], RATE_HZ, copy, RATE_HZ)


@pytest.mark.parametrize("rate_hz", [8_000, 44_100])
def test_a_copy_at_another_rate_is_found(rate_hz):
    wave = audio.resample(audio.resample(speechlike(7), RATE_HZ, 8_000), 8_000, RATE_HZ)
    copy = audio.resample(wave, RATE_HZ, rate_hz)
    assert near_duplicates([fingerprint(wave, RATE_HZ), fingerprint(copy, rate_hz)]) == [(0, 1)]
    assert same_recording(wave, RATE_HZ, copy, rate_hz)


def test_different_sounds_are_not_copies():
    waves = [speechlike(seed) for seed in range(60)]
    pairs = near_duplicates([fingerprint(wave, RATE_HZ) for wave in waves])
    assert [(i, j) for i, j in pairs if same_recording(waves[i], RATE_HZ, waves[j], RATE_HZ)] == []
    heard = [same_recording(a, RATE_HZ, b, RATE_HZ) for a, b in itertools.combinations(waves[:15], 2)]
    assert not any(heard)


def test_steady_tones_and_noises_are_not_candidates():
    rng = np.random.default_rng(0)
    times = np.arange(RATE_HZ) / RATE_HZ
    hums = [
        sum(np.sin(2 * np.pi * 50 * k * times + rng.uniform(0, 6)) / k for k in range(1, 30)) / 10
        + 0.01 * rng.standard_normal(RATE_HZ)
        for _ in range(4)
    ]
    noises = [0.1 * rng.standard_normal(RATE_HZ) for _ in range(4)]
    tones = [0.5 * np.sin(2 * np.pi * 440 * times + phase) for phase in range(4)]
    prints = [fingerprint(wave.astype("f4"), RATE_HZ) for wave in (*hums, *noises, *tones)]
    assert near_duplicates(prints) == []


def test_long_clips_that_begin_alike_differ():
    jingle = speechlike(1, 2.0)
    calls = [np.concatenate([jingle, speechlike(seed, 4.0)]) for seed in (2, 3)]
    assert not same_recording(calls[0], RATE_HZ, calls[1], RATE_HZ)


def test_clips_that_share_a_fifth_are_not_copies():
    whole = speechlike(1, 1.8)
    assert not same_recording(whole[:RATE_HZ], RATE_HZ, whole[int(0.8 * RATE_HZ) :], RATE_HZ)


def test_silence_and_very_short_waves():
    assert fingerprint(np.zeros(RATE_HZ, "f4"), RATE_HZ) == b""
    assert near_duplicates([b"", b"", fingerprint(speechlike(1), RATE_HZ)]) == []
    assert near_duplicates([]) == []
    assert len(fingerprint(np.ones(1, "f4"), RATE_HZ)) % 32 == 0
    assert not same_recording(np.zeros(800, "f4"), RATE_HZ, speechlike(1), RATE_HZ)


def test_a_fingerprint_is_bounded_and_repeatable():
    long = np.tile(speechlike(1, 1.0), 40)
    assert len(fingerprint(long, RATE_HZ)) == 500 * 32
    assert fingerprint(long, RATE_HZ) == fingerprint(long.copy(), RATE_HZ)


def test_pairs_of_existing_clips_are_not_reported():
    prints = [fingerprint(speechlike(seed), RATE_HZ) for seed in (1, 1, 2)]
    assert near_duplicates(prints[2:], prints[:2]) == []
    assert near_duplicates(prints[1:], prints[:1]) == [(0, 1)]


def test_ten_thousand_clips_are_compared_in_seconds():
    rng = np.random.default_rng(0)
    distinct = [rng.bytes(32 * 20) for _ in range(9_900)]
    started = time.process_time()
    pairs = near_duplicates([*distinct, *distinct[:100]])
    assert {(i, i + 9_900) for i in range(100)} <= set(pairs)
    assert time.process_time() - started < 20


def test_many_alike_clips_give_few_pairs_each():
    prints = [fingerprint(speechlike(1), RATE_HZ)] * 200
    assert len(near_duplicates(prints)) <= 8 * 200


def test_the_same_word_by_the_same_speaker_is_no_copy_but_its_coding_is(fsdd: Path):
    speakers = ("george", "jackson", "nicolas")
    paths = [fsdd / f"{digit}_{name}_{take}.wav" for name in speakers for digit in (4, 6, 8) for take in range(50)]
    waves = [audio.decode(path).samples[:, 0] for path in paths]
    prints = [fingerprint(wave, 8_000) for wave in waves]
    pairs = near_duplicates(prints)
    assert pairs
    assert [(i, j) for i, j in pairs if same_recording(waves[i], 8_000, waves[j], 8_000)] == []
    for place in range(0, len(waves), 15):
        copy = recoded(0.5 * waves[place][123:], "MP3", rate_hz=8_000)
        candidates = near_duplicates([fingerprint(copy, 8_000)], prints)
        found = [i for i, _ in candidates if same_recording(waves[i], 8_000, copy, 8_000)]
        assert found == [place], paths[place].name
