"""Small networks on log-mel spectrograms, which are only ever trained from scratch: the opponents of transfer learning.

A CNN after the "CNN" baselines of Kong et al., "PANNs", 2020 (blocks of 3x3 convolutions, mean and maximum over what is
left), and a CRNN after Cakir et al., "Convolutional recurrent neural networks for polyphonic sound event detection",
2017 (convolutions over bands, a GRU over time). Both are transformers models, so a baseline goes the same way as any
candidate: waveform in, logits out.
"""

from __future__ import annotations

from typing import Any, Literal

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

from tenuto.learning.backbones.waveforms import SAMPLE_RATE_HZ, MelLevels, WaveformStack, masked

CNN, CRNN = "log-mel-cnn", "log-mel-crnn"

_FFT, _MELS = 512, 64
HIGHEST_HZ = 7_600.0
_MEL_RANGE_HZ = (50.0, HIGHEST_HZ)


class LogMelConfig(PreTrainedConfig):
    """Which of the two networks, and how wide: `channels` of the convolution blocks."""

    model_type = "tenuto-log-mel"

    network: Literal["cnn", "crnn"] = "cnn"
    channels: tuple[int, ...] = (32, 64, 128)
    hidden_size: int = 128
    sampling_rate: int = SAMPLE_RATE_HZ
    min_seconds: float = 0.5
    dropout: float = 0.2
    apply_spec_augment: bool = False
    mask_time_frames: int = 12
    mask_mel_bands: int = 10


class LogMelFeatureExtractor(WaveformStack):
    """Stacks 16 kHz waveforms, padded with zeros at the end."""


class LogMelSpectrogram(MelLevels):
    """The levels of 64 mel bands, brought to mean 0 and standard deviation 1 per clip: a gain changes nothing."""

    def bands(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        return np.arange(_FFT // 2 + 1), _mel_filters()

    def forward(self, waves: Tensor) -> Tensor:
        level_db = super().forward(waves)
        mean = level_db.mean(dim=(1, 2), keepdim=True)
        return (level_db - mean) / (level_db.std(dim=(1, 2), keepdim=True) + 1e-3)


class LogMelForAudioClassification(PreTrainedModel):
    """Spectrogram, convolution blocks, then mean and maximum over time (CNN) or a GRU over time (CRNN), and a head."""

    config_class = LogMelConfig
    base_model_prefix = "blocks"
    main_input_name = "input_values"

    def __init__(self, config: LogMelConfig) -> None:
        super().__init__(config)
        self.log_mel = LogMelSpectrogram()
        pairs = zip((1, *config.channels), config.channels, strict=False)
        self.blocks = nn.ModuleList(_block(before, after) for before, after in pairs)
        self.pool = (2, 2) if config.network == "cnn" else (1, 4)  # a GRU wants the steps of time
        last = config.channels[-1]
        half = config.hidden_size // 2
        self.recurrent = nn.GRU(last, half, batch_first=True, bidirectional=True) if config.network == "crnn" else None
        self.dropout = nn.Dropout(config.dropout)
        width = config.hidden_size if self.recurrent is not None else 2 * last
        self.classifier = nn.Linear(width, len(config.id2label or {}))
        self.post_init()

    def forward(self, input_values: Tensor, labels: Tensor | None = None, **_: Any) -> SequenceClassifierOutput:
        logits = self.classifier(self.dropout(self.pool_frames(self.frames(input_values))))
        loss = None if labels is None else functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def frames(self, waves: Tensor) -> Tensor:
        """(clips, steps, dims) of waves (clips, samples) at 16 kHz, masked in training if so configured."""
        mels = self.log_mel(waves)
        if self.training and self.config.apply_spec_augment:
            mels = masked(mels, self.config.mask_time_frames, self.config.mask_mel_bands)
        hidden = mels[:, None]  # (clips, 1, frames, mels)
        for block in self.blocks:
            hidden = functional.avg_pool2d(block(hidden), self.pool)
        steps = hidden.mean(dim=3).transpose(1, 2)  # (clips, steps, channels)
        return steps if self.recurrent is None else self.recurrent(steps)[0]

    def pool_frames(self, steps: Tensor) -> Tensor:
        """(clips, dims): mean and maximum over time, or after a GRU the mean alone."""
        if self.recurrent is None:
            return torch.cat([steps.mean(dim=1), steps.amax(dim=1)], dim=1)
        return steps.mean(dim=1)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, LogMelSpectrogram):
            module.reset()
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.GRU):
            for parameter in module.parameters():
                nn.init.uniform_(parameter, -(module.hidden_size**-0.5), module.hidden_size**-0.5)


def config(name: str) -> LogMelConfig:
    """The configuration of `log-mel-cnn` or `log-mel-crnn`."""
    return LogMelConfig(network="crnn" if name == CRNN else "cnn")


def register() -> None:
    """Make the transformers Auto classes know this model; calling it again changes nothing."""
    AutoConfig.register(LogMelConfig.model_type, LogMelConfig, exist_ok=True)
    AutoFeatureExtractor.register(LogMelConfig, LogMelFeatureExtractor, exist_ok=True)
    AutoModelForAudioClassification.register(LogMelConfig, LogMelForAudioClassification, exist_ok=True)


def _block(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )


def _mel_filters() -> npt.NDArray[np.float32]:
    """(bins, 64) triangles of height 1 on the HTK mel scale, 50 to 7600 Hz."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in _MEL_RANGE_HZ)
    edges = 700 * (10 ** (np.linspace(low, high, _MELS + 2) / 2595) - 1)
    hz = np.arange(_FFT // 2 + 1)[:, None] * SAMPLE_RATE_HZ / _FFT
    rising = (hz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hz) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
