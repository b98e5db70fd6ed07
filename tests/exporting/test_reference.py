from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tenuto.exporting import reference
from tenuto.serving.hearing.classifier import Classifier
from tenuto.sound import audio
from tests.bundles import LABELS, SAMPLE_RATE_HZ, tone, write_tones


@pytest.fixture
def clips(tmp_path: Path) -> pd.DataFrame:
    """Tones around 500 Hz and 2 kHz, of which every third validates and every fifth is tested."""
    rng, rows = np.random.default_rng(0), []
    for index in range(90):
        label = LABELS[index % 2]
        wave = tone({"high": 2000, "low": 500}[label] * rng.uniform(0.9, 1.1), 0.3, rng.uniform(0.2, 0.4))
        (tmp_path / f"{index}.wav").write_bytes(audio.encode_wav(wave, SAMPLE_RATE_HZ))
        split = "test" if index % 5 == 0 else "validation" if index % 3 == 0 else "train"
        rows.append([f"clip{index}", f"{index}.wav", label, 0.3, split])
    return pd.DataFrame(rows, columns=["clip_id", "path", "label", "duration_seconds", "split"])


def test_the_reference_holds_what_the_model_made_of_training_and_validation_clips(
    clips: pd.DataFrame, tmp_path: Path
) -> None:
    write_tones(tmp_path / "bundle")
    reference.write(tmp_path / "bundle", clips, tmp_path)
    table = pd.read_parquet(tmp_path / "bundle" / "reference.parquet")
    assert table["clip_id"].tolist() == [
        *clips[clips["split"] == "train"]["clip_id"],
        *clips[clips["split"] == "validation"]["clip_id"],
    ]
    assert (table["predicted"] == table["label"]).all()
    np.testing.assert_allclose(table["probability"], table[["p_high", "p_low"]].max(axis=1))
    assert table["embedding"].iloc[0].dtype == np.float32
    wave = audio.load_waveform(tmp_path / clips.set_index("clip_id")["path"][table["clip_id"][3]], SAMPLE_RATE_HZ)
    assert table["level_dbfs"][3] == pytest.approx(20 * np.log10(np.sqrt((wave**2).mean())), abs=1e-6)
    heard = Classifier.load(tmp_path / "bundle").hear([wave])
    assert heard.novelty[0] == pytest.approx(table["novelty"][3])
    assert (table["novelty"][table["split"] == "validation"] <= 1).all()


def test_a_bundle_calls_noise_unknown_once_its_reference_is_made(clips: pd.DataFrame, tmp_path: Path) -> None:
    write_tones(tmp_path / "bundle")
    noise = np.random.default_rng(1).uniform(-0.9, 0.9, 4000).astype(np.float32)
    assert not Classifier.load(tmp_path / "bundle").hear([noise]).is_unknown[0]
    reference.write(tmp_path / "bundle", clips, tmp_path)
    heard = Classifier.load(tmp_path / "bundle").hear([noise, tone(500, 0.3)])
    assert heard.is_unknown.tolist() == [True, False]


def test_of_many_clips_so_many_are_drawn_and_the_same_ones_every_time(
    clips: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "MOST_CLIPS", 12)
    write_tones(tmp_path / "bundle")
    drawn = []
    for _ in range(2):
        reference.write(tmp_path / "bundle", clips, tmp_path)
        drawn.append(pd.read_parquet(tmp_path / "bundle" / "reference.parquet"))
    assert drawn[0]["split"].value_counts().to_dict() == {"train": 12, "validation": 12}
    pd.testing.assert_frame_equal(drawn[0], drawn[1])


def test_with_few_validation_clips_there_is_a_reference_without_novelty(clips: pd.DataFrame, tmp_path: Path) -> None:
    write_tones(tmp_path / "bundle")
    reference.write(tmp_path / "bundle", clips[clips["split"] != "validation"], tmp_path)
    assert not (tmp_path / "bundle" / "novelty.npz").exists()
    assert (pd.read_parquet(tmp_path / "bundle" / "reference.parquet")["novelty"] == 0).all()
