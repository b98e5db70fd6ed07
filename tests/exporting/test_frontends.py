"""Feature extraction in torch, held against the extractors of transformers that training uses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ClapFeatureExtractor, SeamlessM4TFeatureExtractor

from tenuto.errors import ExportError
from tenuto.exporting import frontends
from tenuto.learning import backbones
from tenuto.learning.framing import Framing
from tenuto.learning.preprocessing import Preprocessing
from tests.chirps import tiny_checkpoint
from tests.exporting.models import noises

SECONDS = (0.5, 0.611, 0.9, 0.96)


def preprocessing_of(family: str, folder: Path) -> Preprocessing:
    backbone = backbones.resolve(str(tiny_checkpoint(family, folder)))
    return Preprocessing.of(backbone.feature_extractor, backbone.config, 10.0)


@pytest.mark.parametrize("family", ["wav2vec2", "ast", "whisper", "clap"])
def test_features_are_those_of_the_extractor(family: str, tmp_path: Path) -> None:
    preprocessing = preprocessing_of(family, tmp_path)
    frontend, framing = frontends.of(preprocessing), preprocessing.framing
    for wave in noises(preprocessing.sample_rate_hz, SECONDS):
        heard = framing.fit(wave, framing.length(len(wave)))
        expected = preprocessing.features([wave])
        found = frontend(torch.from_numpy(heard)[None])
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_allclose(found[name].numpy(), values.numpy(), atol=1e-4, rtol=1e-4)


def test_silence_and_a_constant_have_the_extractor_s_features(tmp_path: Path) -> None:
    preprocessing = preprocessing_of("ast", tmp_path)
    for wave in (np.zeros(9000, np.float32), np.full(9000, 0.5, np.float32)):
        found = frontends.of(preprocessing)(torch.from_numpy(wave)[None])["input_values"]
        np.testing.assert_allclose(found.numpy(), preprocessing.features([wave])["input_values"].numpy(), atol=1e-4)


def test_what_is_masked_is_neither_counted_nor_heard(tmp_path: Path) -> None:
    preprocessing = preprocessing_of("wav2vec2-stable", tmp_path)
    waves = noises(preprocessing.sample_rate_hz, (0.52, 0.58))
    expected = preprocessing.features(waves)
    length = expected["input_values"].shape[1]
    stacked = torch.from_numpy(np.stack([np.pad(wave, (0, length - len(wave))) for wave in waves]))
    found = frontends.of(preprocessing)(stacked, torch.tensor([len(wave) for wave in waves]))
    np.testing.assert_allclose(found["input_values"].numpy(), expected["input_values"].numpy(), atol=1e-4)
    np.testing.assert_array_equal(found["attention_mask"].numpy(), expected["attention_mask"].numpy())


@pytest.mark.parametrize(
    ("truncation", "padding"), [("fusion", "repeat"), ("rand_trunc", "repeatpad"), ("rand_trunc", "pad")]
)
def test_clap_fills_its_window_in_each_of_its_ways(truncation: str, padding: str) -> None:
    extractor = ClapFeatureExtractor(
        feature_size=8,
        sampling_rate=16_000,
        hop_length=160,
        max_length_s=1,
        frequency_max=8000,
        truncation=truncation,
        padding=padding,
    )
    preprocessing = Preprocessing(extractor, Framing(extractor.sampling_rate, 0.1, 1.0, pads_itself=True))
    for wave in noises(16_000, (0.1, 0.3, 0.45, 1.0)):
        found = frontends.of(preprocessing)(torch.from_numpy(wave)[None])["input_features"]
        np.testing.assert_allclose(found.numpy(), preprocessing.features([wave])["input_features"].numpy(), atol=1e-3)


def test_an_extractor_that_cannot_be_exported_is_named() -> None:
    preprocessing = Preprocessing(SeamlessM4TFeatureExtractor(), Framing(16_000, 0.5, 10.0, pads_itself=False))
    with pytest.raises(ExportError, match="SeamlessM4TFeatureExtractor is not among those that can be exported: Wav2"):
        frontends.of(preprocessing)
