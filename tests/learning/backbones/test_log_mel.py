"""The networks from scratch: their spectrogram against scipy, shapes, learning, saving and loading."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import signal
from transformers import AutoModelForAudioClassification

from tenuto.errors import BackboneError
from tenuto.learning import backbones
from tenuto.learning.backbones import log_mel
from tests.chirps import RATE_HZ, chirp

LABELS = ("down", "up")


def waves(clips: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    truth = np.arange(clips) % 2
    return torch.from_numpy(np.stack([chirp(LABELS[t], rng, seconds=0.6)[:9000] for t in truth])), torch.tensor(truth)


def test_levels_are_those_of_scipys_spectrogram() -> None:
    """A tone's loudest band is the one that holds it, and its spectrum is scipy's under the same window."""
    seconds = np.arange(RATE_HZ) / RATE_HZ
    tone = (0.5 * np.sin(2 * np.pi * 1000 * seconds)).astype(np.float32)
    spectrogram = log_mel.LogMelSpectrogram()
    found = spectrogram(torch.from_numpy(tone)[None])[0]
    window = np.pad(signal.get_window("hann", 400), 56)
    reference = np.abs(signal.stft(tone, window=window, nperseg=512, noverlap=352, boundary=None, padded=False)[2]) ** 2
    levels = 10 * np.log10(np.maximum((reference * window.sum() ** 2).T @ spectrogram.mel.numpy(), 1e-10))
    levels = np.maximum(levels, levels.max() - 80)
    np.testing.assert_allclose(found, (levels - levels.mean()) / levels.std(), atol=0.01)


def test_a_gain_changes_nothing() -> None:
    clips, _ = waves(2)
    spectrogram = log_mel.LogMelSpectrogram()
    torch.testing.assert_close(spectrogram(clips), spectrogram(clips * 0.1), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", backbones.SCRATCH)
def test_it_learns_and_is_saved_whole(name: str, tmp_path: Path) -> None:
    model = backbones.resolve(name).from_scratch(LABELS, seed=0).train()
    clips, truth = waves(16)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    torch.manual_seed(0)
    for _ in range(12):
        optimizer.zero_grad()
        model(clips, labels=truth).loss.backward()
        optimizer.step()
    heard, wanted = waves(12, seed=9)
    logits = model.eval()(heard).logits
    assert (logits.argmax(dim=1) == wanted).float().mean() > 0.8
    model.save_pretrained(tmp_path)
    again = AutoModelForAudioClassification.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(again(heard).logits, logits)


@pytest.mark.parametrize("name", backbones.SCRATCH)
def test_the_same_seed_gives_the_same_weights(name: str) -> None:
    one, other = (backbones.resolve(name).from_scratch(LABELS, seed=3).state_dict() for _ in range(2))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_network_from_scratch_is_no_backbone() -> None:
    with pytest.raises(BackboneError, match=r"'log-mel-cnn' has no pre-trained weights.*finetune.baseline"):
        backbones.resolve("log-mel-cnn").pretrained(LABELS, seed=0)
