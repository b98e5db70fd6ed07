"""Fixed windows cut down to the clips: AST's positions interpolated over time, Whisper's taken from the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tenuto.learning import backbones, checkpoint, preparation
from tenuto.learning.backbones.families.spectrogram import over_time
from tenuto.learning.framing import rounded_up
from tenuto.learning.predictor import Predictor, logits
from tenuto.learning.preprocessing import Preprocessing
from tests.chirps import chirp, params, tiny_checkpoint, write_clips

LABELS = ("down", "up")


def backbone(family: str, folder: Path) -> backbones.Backbone:
    return backbones.resolve(str(tiny_checkpoint(family, folder / "backbone", layers=2)))


def with_random_positions(family: str, folder: Path) -> Any:
    """A backbone whose position embeddings are not the zeros that AST begins with."""
    from transformers import ASTForAudioClassification

    whole = backbone(family, folder)
    if family == "ast":
        model = ASTForAudioClassification.from_pretrained(whole.source)
        torch.nn.init.normal_(model.audio_spectrogram_transformer.embeddings.position_embeddings)
        model.save_pretrained(whole.source)
    return whole


def test_a_linear_ramp_stays_a_ramp() -> None:
    ramp = torch.arange(5.0).repeat(3, 1)[:, :, None]  # (bands, moments, dims)
    positions = torch.cat([torch.tensor([[[-7.0], [-8.0]]]), ramp.reshape(1, 15, 1)], dim=1)
    fitted = over_time(positions, 3, 5, 3)
    assert fitted[0, :2, 0].tolist() == [-7, -8]
    assert fitted[0, 2:, 0].unflatten(0, (3, 3)).tolist() == [[0, 2, 4]] * 3
    assert torch.equal(over_time(positions, 3, 5, 5), positions)


@pytest.mark.parametrize("family", ["ast", "whisper"])
def test_at_the_full_length_nothing_changes(family: str, tmp_path: Path) -> None:
    whole = with_random_positions(family, tmp_path)
    again = whole.shortened(30.0)
    assert again.config is whole.config
    assert again.feature_extractor is whole.feature_extractor
    before, after = (b.pretrained(LABELS, seed=0).state_dict() for b in (whole, again))
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_shortened_ast_has_fewer_patches_and_its_own_normalisation(tmp_path: Path) -> None:
    whole = with_random_positions("ast", tmp_path)
    short = whole.shortened(0.56)
    assert (short.config.max_length, short.feature_extractor.max_length) == (56, 56)
    assert whole.config.max_length == whole.feature_extractor.max_length == 96
    model, full = (b.pretrained(LABELS, seed=0) for b in (short, whole))
    kept = full.state_dict()
    for key, value in model.state_dict().items():
        if key.endswith("position_embeddings"):
            assert value.shape == (1, 2 + 2 * 5, 16)  # two bands, and moments (56 - 16) / 10 + 1; there were 9
            assert torch.equal(value, over_time(kept[key], 2, 9, 5))
        else:
            assert torch.equal(value, kept[key]), key
    wave = [chirp("up", np.random.default_rng(0), 0.5)]
    heard, expected = (
        Preprocessing.of(b.feature_extractor, b.config, 10.0).features(wave)["input_values"] for b in (short, whole)
    )
    assert torch.equal(heard, expected[:, :56])


def test_a_shortened_whisper_takes_its_positions_from_the_start(tmp_path: Path) -> None:
    whole = backbone("whisper", tmp_path)
    whole.feature_extractor.chunk_length = 2
    kept = whole.pretrained(LABELS, seed=0).state_dict()
    short = whole.shortened(0.8)
    assert short.feature_extractor.chunk_length == 1
    assert short.config.max_source_positions == 50
    short.config.max_source_positions = 30  # the tiny one hears no more than a second
    model = short.pretrained(LABELS, seed=0)
    for key, value in model.state_dict().items():
        assert torch.equal(value, kept[key][:30] if "embed_positions" in key else kept[key]), key
    assert not model.encoder.embed_positions.weight.requires_grad
    with torch.no_grad():
        assert model(torch.zeros(1, 16, 60)).logits.shape == (1, 2)


@pytest.mark.parametrize(
    ("seconds", "rounded"), [(0.1, 0.5), (0.5, 0.5), (0.51, 0.5 * 2**0.25), (1.0, 1.0), (7.9, 8.0), (8.1, 8 * 2**0.25)]
)
def test_windows_come_in_four_lengths_per_octave(seconds: float, rounded: float) -> None:
    assert rounded_up(seconds) == pytest.approx(rounded)


@pytest.mark.parametrize(("window_seconds", "frames"), [(None, 60), (0.55, 55)])
def test_the_window_is_that_of_the_longest_training_clip(
    window_seconds: float | None, frames: int, tmp_path: Path
) -> None:
    whole = backbone("ast", tmp_path)
    clips = write_clips(tmp_path / "data", {"down": 6, "up": 6}, seconds=0.45)
    assert 0.5 < clips[clips["split"] == "train"]["duration_seconds"].max() < 0.59
    choices = params(backbone=whole.source, model={"window_seconds": window_seconds})
    setup = preparation.set_up(clips, tmp_path / "data", choices)
    assert setup.backbone.config.max_length == frames
    most = choices.data.max_duration_seconds
    assert setup.material.preprocessing.framing.max_seconds == (frames / 100 if window_seconds is None else most)


@pytest.mark.parametrize("family", ["ast", "whisper"])
def test_a_shortened_model_is_saved_and_loaded_whole(family: str, tmp_path: Path) -> None:
    whole = with_random_positions(family, tmp_path)
    if family == "whisper":
        whole.feature_extractor.chunk_length = 2
    short = whole.shortened(0.56)
    preprocessing = Preprocessing.of(short.feature_extractor, short.config, 10.0)
    model = short.pretrained(LABELS, seed=0)
    rng = np.random.default_rng(0)
    waves = [chirp("up", rng, seconds) for seconds in (0.3, 0.5, 0.9)]
    expected = logits(model, preprocessing, waves)
    facts = {"labels": LABELS, "trainable_parameters": 1, "seconds": 0.0}
    written = checkpoint.write(
        model, preprocessing, tmp_path / "made", backbone="b", backbone_revision="1", backbone_licence="mit", **facts
    )
    predictor = Predictor.load(written.path)
    np.testing.assert_array_equal(logits(predictor.model, predictor.preprocessing, waves), expected)
    assert predictor.preprocessing.sha256 == preprocessing.sha256
    again = backbones.resolve(str(written.path))  # as the backbone of the next
    assert again.config.to_dict().get("max_length") == short.config.to_dict().get("max_length")
    assert again.pretrained(LABELS, seed=0).state_dict().keys() == model.state_dict().keys()
