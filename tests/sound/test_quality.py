from __future__ import annotations

import numpy as np
import pytest

from tenuto.sound import audio, quality
from tests.recordings import RATE_HZ, coded, speechlike


def noise(seconds: float = 1.0, rate_hz: int = RATE_HZ, level: float = 0.1) -> audio.Wave:
    return (level * np.random.default_rng(5).standard_normal(int(seconds * rate_hz))).astype("f4")


def sine(frequency_hz: float, amplitude: float, rate_hz: int = 44_100) -> audio.Wave:
    return (amplitude * np.sin(2 * np.pi * frequency_hz * np.arange(rate_hz) / rate_hz)).astype("f4")


def measured(samples: np.ndarray, rate_hz: int = RATE_HZ) -> quality.Quality:
    samples = samples[:, None] if samples.ndim == 1 else samples
    return quality.measure(audio.Recording(samples.astype("f4"), rate_hz, "", False))


def sixteen_bits(wave: audio.Wave) -> audio.Wave:
    return (np.round(wave * 32767) / 32767).astype("f4")


def test_levels_of_a_sine():
    facts = measured(sine(1_000, 0.5), 44_100)
    assert facts.peak_dbfs == pytest.approx(-6.02, abs=0.01)
    assert facts.level_dbfs == pytest.approx(-9.03, abs=0.01)
    assert facts.dc_offset == pytest.approx(0, abs=1e-6)


def test_silence_measures_the_floor_and_not_minus_infinity():
    facts = measured(np.zeros(1_000))
    assert facts.peak_dbfs == facts.level_dbfs == facts.swing_dbfs == quality.FLOOR_DB
    assert (facts.bandwidth_hz, facts.snr_db, facts.clipped_fraction) == (0, 0, 0)
    assert not facts.has_dead_channel


def test_dc_offset_is_the_largest_of_the_channels_and_no_swing():
    facts = measured(np.stack([np.full(1_000, 0.01), np.full(1_000, -0.25)], 1))
    assert facts.dc_offset == pytest.approx(-0.25)
    assert facts.peak_dbfs == pytest.approx(-12.04, abs=0.01)
    assert facts.swing_dbfs == quality.FLOOR_DB


def test_dead_channel():
    wave = speechlike(1)
    assert measured(np.stack([wave, 1e-5 * wave], 1)).has_dead_channel
    assert not measured(np.stack([wave, 0.1 * wave], 1)).has_dead_channel
    assert not measured(wave).has_dead_channel


def test_snr_of_bursts_in_noise():
    rng = np.random.default_rng(0)
    wave = 0.01 * rng.standard_normal(RATE_HZ)
    wave[RATE_HZ // 2 :] += 0.1 * rng.standard_normal(RATE_HZ // 2)
    assert quality.snr_db(wave.astype("f4"), RATE_HZ) == pytest.approx(20, abs=2)


def test_snr_ends_at_0_and_100_db():
    assert quality.snr_db(sine(440, 0.5), 44_100) == 0
    half_silent = np.concatenate([np.zeros(8_000, "f4"), noise(0.5)])
    assert quality.snr_db(half_silent, RATE_HZ) == 100
    assert quality.snr_db(np.ones(10, "f4"), RATE_HZ) == 0


@pytest.mark.parametrize("gain", [1.0, 0.3])
def test_clipped_fraction_counts_the_flat_tops_also_when_turned_down(gain):
    wave = sine(440, 2.0)
    expected = float(np.mean(np.abs(wave) >= 1))
    clipped = sixteen_bits(gain * np.clip(wave, -1, 1).astype("f4"))
    assert expected == pytest.approx(2 / 3, abs=0.01)
    assert quality.clipped_fraction(clipped) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    "wave", [sine(50, 1.0), sine(50, 0.02), sine(20, 0.5), sine(440, 0.99), noise(), speechlike(2)]
)
def test_crests_that_rounding_makes_flat_are_not_clipped(wave):
    assert quality.clipped_fraction(sixteen_bits(wave)) == 0


def test_eight_bit_sound_is_not_clipped():
    recording = audio.decode_bytes(coded(sine(200, 0.9, 8_000), 8_000, subtype="PCM_U8"))
    assert quality.measure(recording).clipped_fraction == 0


@pytest.mark.parametrize("rate_hz", [16_000, 44_100, 48_000])
@pytest.mark.parametrize("kind", [("WAV", "PCM_16"), ("FLAC", "PCM_24"), ("MP3", None), ("OGG", "VORBIS")])
def test_telephone_speech_stored_at_a_higher_rate_has_a_fake_bandwidth(rate_hz, kind):
    stored = audio.resample(noise(rate_hz=8_000) * 0.5 + speechlike(4, 1.0, 8_000), 8_000, rate_hz)
    facts = quality.measure(audio.decode_bytes(coded(stored, rate_hz, *kind)))
    assert facts.is_fake_bandwidth
    assert 3_700 <= facts.bandwidth_hz <= 4_000


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100])
def test_full_bandwidth_is_not_fake(rate_hz):
    brown = np.cumsum(noise(rate_hz=rate_hz, level=0.01))
    for wave in (noise(rate_hz=rate_hz), (brown - brown.mean()).astype("f4")):
        facts = measured(wave, rate_hz)
        assert not facts.is_fake_bandwidth
        assert facts.bandwidth_hz == pytest.approx(rate_hz / 2, rel=0.02)


def test_neither_mp3_nor_a_pure_tone_is_fake():
    facts = quality.measure(audio.decode_bytes(coded(noise(rate_hz=44_100), 44_100, "MP3")))
    assert not facts.is_fake_bandwidth
    assert 14_000 < facts.bandwidth_hz < 21_000
    assert not measured(sine(440, 0.5), 44_100).is_fake_bandwidth


def test_one_sample_can_be_measured():
    assert measured(np.array([0.5])).peak_dbfs == pytest.approx(-6.02, abs=0.01)
