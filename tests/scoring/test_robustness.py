"""Noise that is the same for all models, at the level asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tenuto.scoring import robustness
from tests.tones import ToneModel, write_clips


def level_db(wave: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(wave, dtype=float))))


@pytest.mark.parametrize("snr_db", [20.0, 0.0, -10.0])
def test_noise_lies_so_far_below_the_clip(snr_db: float) -> None:
    wave = np.sin(np.arange(8000) / 5).astype(np.float32)
    mixture = robustness.mixed(wave, robustness.noise_for("a" * 32, 8000), snr_db)
    assert level_db(wave) - level_db(mixture - wave) == pytest.approx(snr_db, abs=0.01)
    assert mixture.dtype == np.float32


def test_silence_stays_silent() -> None:
    silence = np.zeros(100, dtype=np.float32)
    assert not robustness.mixed(silence, robustness.noise_for("a" * 32, 100), 0.0).any()


def test_noise_belongs_to_the_clip() -> None:
    assert np.array_equal(robustness.noise_for("ab" * 16, 50), robustness.noise_for("ab" * 16, 50))
    assert not np.array_equal(robustness.noise_for("ab" * 16, 50), robustness.noise_for("ab" * 15 + "cd", 50))


def test_models_hear_less_in_more_noise_and_the_same_noise(tmp_path: Path) -> None:
    clips = write_clips(tmp_path, 4)
    models = {"candidate": ToneModel(), "champion": ToneModel(), "wide": ToneModel(sample_rate_hz=16_000)}
    seen: list[int] = []
    found = robustness.under_noise(models, clips, tmp_path, (30.0, -35.0), 5, seen.append)
    assert found["candidate"] == found["champion"]
    assert found["candidate"]["30 dB"] == found["wide"]["30 dB"] == 1.0
    assert found["candidate"]["-35 dB"] < 0.9
    assert sum(seen) == len(clips)


def test_the_clips_chosen_stay_chosen_when_others_come(tmp_path: Path) -> None:
    clips = write_clips(tmp_path, 2)
    few = set(robustness.chosen(clips.iloc[::2], 4)["clip_id"])
    some = set(robustness.chosen(clips, 8)["clip_id"])
    assert len(few) == 4 and len(few & some) >= 2
    assert robustness.chosen(clips, 8)["clip_id"].tolist() == sorted(clips["clip_id"])[:8]
