from typing import Any

import numpy as np
import pandas as pd
import pytest

from tenuto.learning import augment
from tenuto.settings import AugmentSettings
from tests.chirps import RATE_HZ, chirp

OFF = dict.fromkeys(("noise", "gain", "shift", "room", "band_limit", "pitch", "stretch"), 0.0)


def drawn(**values: float) -> dict[str, float]:
    return dict.fromkeys(augment.DRAWN, np.nan) | {"noise_seed": 7.0} | values


def rms_db(wave: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(wave, dtype=np.float64))))


@pytest.fixture
def wave() -> np.ndarray:
    return chirp("up", np.random.default_rng(0))


def clips(**counts: int) -> pd.DataFrame:
    """Training clips per 'label_site', and one test clip of each site."""
    rows = [
        {"clip_id": f"{name}{index}", "label": name.split("_")[0], "group_site": name.split("_")[1], "split": "train"}
        for name, count in counts.items()
        for index in range(count)
    ]
    sites = {row["group_site"] for row in rows}
    held = [{"clip_id": f"test-{site}", "label": "a", "group_site": site, "split": "test"} for site in sorted(sites)]
    return pd.DataFrame(rows + held)


def test_every_change_off_gives_the_wave_back(wave: np.ndarray) -> None:
    np.testing.assert_array_equal(augment.apply(wave, RATE_HZ, drawn()), wave)


@pytest.mark.parametrize("name", augment.DRAWN[1:])
def test_the_same_draw_gives_the_same_wave(name: str, wave: np.ndarray) -> None:
    value = {"stretch_rate": 1.1, "band_limit_hz": 1500.0, "shift_seconds": 0.02, "room_seconds": 0.3}.get(name, 3.0)
    first, second = (augment.apply(wave.copy(), RATE_HZ, drawn(**{name: value})) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape != wave.shape or not np.array_equal(first, wave)


def test_noise_has_the_level_that_was_drawn(wave: np.ndarray) -> None:
    noise = augment.apply(wave, RATE_HZ, drawn(noise_snr_db=10.0)) - wave
    assert rms_db(wave) - rms_db(noise) == pytest.approx(10, abs=0.3)


def test_noise_depends_on_its_seed(wave: np.ndarray) -> None:
    one, two = (augment.apply(wave, RATE_HZ, drawn(noise_snr_db=10.0) | {"noise_seed": seed}) for seed in (1.0, 2.0))
    assert not np.allclose(one, two)


def test_gain_in_decibels(wave: np.ndarray) -> None:
    quieter = augment.apply(wave, RATE_HZ, drawn(gain_db=-6.0))
    assert rms_db(quieter) - rms_db(wave) == pytest.approx(-6, abs=1e-3)


def test_shift_in_seconds() -> None:
    click = np.zeros(RATE_HZ, np.float32)
    click[8000] = 0.5
    assert augment.apply(click, RATE_HZ, drawn(shift_seconds=0.1)).argmax() == 9600
    assert augment.apply(click, RATE_HZ, drawn(shift_seconds=-0.1)).argmax() == 6400


def test_stretch_changes_the_length_by_its_rate(wave: np.ndarray) -> None:
    assert len(augment.apply(wave, RATE_HZ, drawn(stretch_rate=1.25))) == pytest.approx(len(wave) / 1.25, abs=2)


def test_pitch_moves_a_tone() -> None:
    times = np.arange(RATE_HZ) / RATE_HZ
    tone = (0.3 * np.sin(2 * np.pi * 440 * times)).astype(np.float32)
    higher = augment.apply(tone, RATE_HZ, drawn(pitch_semitones=2.0))
    spectrum = np.abs(np.fft.rfft(higher * np.hanning(len(higher))))
    assert spectrum.argmax() * RATE_HZ / len(higher) == pytest.approx(440 * 2 ** (2 / 12), rel=0.01)


def test_band_limit_removes_what_is_above() -> None:
    noise = (0.1 * np.random.default_rng(0).standard_normal(RATE_HZ)).astype(np.float32)
    power = np.abs(np.fft.rfft(augment.apply(noise, RATE_HZ, drawn(band_limit_hz=2000.0)))) ** 2
    assert 10 * np.log10(power[4000:].mean() / power[:1000].mean()) < -20


def test_a_room_adds_a_tail_that_dies_away() -> None:
    click = np.zeros(RATE_HZ, np.float32)
    click[0] = 1.0
    response = augment.apply(click, RATE_HZ, drawn(room_seconds=0.4))
    early, late = response[160:1600], response[4800:6240]  # 0.3 s later: 45 dB lower
    assert rms_db(early) - rms_db(late) == pytest.approx(45, abs=2)
    assert rms_db(response[1:]) - rms_db(click) == pytest.approx(-9, abs=0.5)


def test_nothing_passes_full_scale(wave: np.ndarray) -> None:
    assert np.abs(augment.apply(wave / np.abs(wave).max(), RATE_HZ, drawn(gain_db=6.0, noise_snr_db=0.0))).max() <= 1


def test_silence_stays_silent() -> None:
    silence = np.zeros(RATE_HZ, np.float32)
    everything = drawn(noise_snr_db=10.0, gain_db=6.0, shift_seconds=0.01, room_seconds=0.2, band_limit_hz=2000.0)
    assert not augment.apply(silence, RATE_HZ, everything).any()


def test_draws_are_reproducible_and_in_range() -> None:
    settings = AugmentSettings()
    table = augment.draw(400, settings, np.random.default_rng(3))
    pd.testing.assert_frame_equal(table, augment.draw(400, settings, np.random.default_rng(3)))
    assert table["noise_snr_db"].dropna().between(settings.min_snr_db, settings.max_snr_db).all()
    assert table["gain_db"].abs().max() <= settings.max_gain_db
    assert table["stretch_rate"].dropna().between(1 / 1.15, 1.15).all()
    assert table["noise_snr_db"].notna().mean() == pytest.approx(settings.noise, abs=0.1)


def test_probability_zero_switches_a_change_off() -> None:
    table = augment.draw(50, AugmentSettings(**OFF), np.random.default_rng(0))
    assert table[list(augment.DRAWN[1:])].isna().all(axis=None)


def test_rare_classes_are_filled_from_their_own_training_clips() -> None:
    table = clips(a_x=20, b_x=4)
    copies = augment.plan(table, AugmentSettings(), np.random.default_rng(0))
    assert copies["reason"].value_counts().to_dict() == {"label=b": 16}
    assert copies["clip_id"].value_counts().to_dict() == {f"b_x{index}": 4 for index in range(4)}
    assert sorted(copies.loc[copies["clip_id"] == "b_x0", "copy"]) == [1, 2, 3, 4]
    assert set(copies["split"]) == {"train"}


def test_rare_groups_that_other_splits_share_are_filled() -> None:
    table = clips(a_x=10, b_x=10, a_y=2, b_y=2, a_z=7, b_z=7)  # the median site has 14 clips
    copies = augment.plan(table, AugmentSettings(), np.random.default_rng(0))
    assert copies["reason"].value_counts().to_dict() == {"site=y": 10}
    assert set(copies["group_site"]) == {"y"}


def test_groups_of_training_alone_are_not_filled() -> None:
    table = clips(a_x=10, b_x=10, a_y=2, b_y=2, a_z=7, b_z=7)
    table.loc[table["split"] == "test", "group_site"] = "elsewhere"
    assert augment.plan(table, AugmentSettings(), np.random.default_rng(0)).empty


@pytest.mark.parametrize(("settings", "expected"), [({"fill": 0.5}, 6), ({"max_copies": 2}, 8), ({"fill": 0}, 0)])
def test_how_far_classes_are_filled(settings: dict[str, Any], expected: int) -> None:
    copies = augment.plan(clips(a_x=20, b_x=4), AugmentSettings(**settings), np.random.default_rng(0))
    assert len(copies) == expected


def test_added_clips_leave_earlier_copies_as_they_are() -> None:
    before = augment.plan(clips(a_x=20, b_x=5), AugmentSettings(), np.random.default_rng(0))
    after = augment.plan(clips(a_x=25, b_x=5), AugmentSettings(), np.random.default_rng(0))
    kept = {(row["clip_id"], augment.draw_hash(row)) for row in before.to_dict("records")}
    assert kept < {(row["clip_id"], augment.draw_hash(row)) for row in after.to_dict("records")}


def test_no_two_copies_are_alike() -> None:
    copies = augment.plan(clips(a_x=40, b_x=4), AugmentSettings(), np.random.default_rng(0))
    assert len({augment.draw_hash(row) for row in copies.to_dict("records")}) == len(copies)


def test_copies_of_a_real_manifest_name_every_column_once() -> None:
    settings = AugmentSettings()
    clips = pd.DataFrame(
        {
            "clip_id": [f"{n:032x}" for n in range(12)],
            "label": ["often"] * 9 + ["rare"] * 3,
            "split": "train",
            "snr_db": 30.0,  # the manifest has its own estimate of each clip's noise
        }
    )
    copies = augment.plan(clips, settings, np.random.default_rng(0))
    assert copies.columns.is_unique
    assert (copies["snr_db"] == 30.0).all()
