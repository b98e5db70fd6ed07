from pathlib import Path

import pandas as pd
import pytest

from tenuto.learning import backbones, bandwidth, catalogue, checkpoint, finetune
from tenuto.learning.backbones import families
from tests.chirps import params, tiny_checkpoint, write_clips


def test_recordings_that_reach_as_high_as_the_backbone_need_no_word() -> None:
    assert bandwidth.note(pd.Series([16_000, 44_100]), 8_000) is None
    assert bandwidth.note(pd.Series([8_000, 8_000]), 3_800) is None


def test_how_many_recordings_are_silent_up_there() -> None:
    said = bandwidth.note(pd.Series([8_000, 11_025, 16_000, 48_000]), 8_000)
    assert said is not None
    assert said.startswith("2 of 4 recordings (50 %) end below the 8,000 Hz that this backbone listens up to")
    assert "the lowest rate is 8,000 Hz" in said


@pytest.mark.parametrize("name", ["speech-embedding", "log-mel-cnn"])
def test_the_catalogue_says_how_high_a_backbone_listens(name: str) -> None:
    backbone, entry = backbones.resolve(name), catalogue.entry(name)
    assert entry is not None
    assert families.of(backbone.config).highest_hz(backbone.config, backbone.feature_extractor) == entry.highest_hz


@pytest.mark.parametrize(("backbone", "narrow"), [("wav2vec2", True), ("speech-embedding", False)])
def test_a_checkpoint_says_what_its_recordings_lack(backbone: str, narrow: bool, tmp_path: Path) -> None:
    clips = write_clips(tmp_path / "data", {"down": 6, "up": 6})
    clips["sample_rate_hz"] = 8_000
    source = str(tiny_checkpoint("wav2vec2", tmp_path / "backbone")) if narrow else backbone
    choices = params(backbone=source, finetune={"epochs": 0})
    made = finetune.train_candidate(clips, tmp_path / "data", choices, tmp_path / "cache", tmp_path / "made")
    assert len(made.notes) == narrow
    assert all(note.startswith("12 of 12 recordings (100 %)") for note in made.notes)
    assert checkpoint.read(made.path).notes == made.notes
