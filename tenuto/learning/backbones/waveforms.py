"""What the networks of our own share in front of the first layer: stacked waveforms, mel levels, masks."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor
from transformers.feature_extraction_utils import BatchFeature

from tenuto.errors import BackboneError

SAMPLE_RATE_HZ = 16_000
_HOP, _WINDOW, _FFT = 160, 400, 512
_FLOOR, _DYNAMIC_RANGE_DB = 1e-10, 80.0

Array = npt.NDArray[np.float32]


class WaveformStack(SequenceFeatureExtractor):
    """Stacks waveforms of any lengths into `input_values`, padded with zeros at the end."""

    model_input_names = ["input_values"]  # noqa: RUF012 - transformers wants a list

    def __init__(
        self, feature_size: int = 1, sampling_rate: int = SAMPLE_RATE_HZ, padding_value: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(feature_size=feature_size, sampling_rate=sampling_rate, padding_value=padding_value, **kwargs)

    def __call__(
        self,
        raw_speech: npt.NDArray[np.float32] | list[npt.NDArray[np.float32]],
        sampling_rate: int | None = None,
        return_tensors: str | None = None,
        **_: Any,
    ) -> BatchFeature:
        """`input_values` (clips, samples) of one or several (samples,) waves in [-1, 1] at `sampling_rate`."""
        if sampling_rate not in (None, self.sampling_rate):
            raise BackboneError(f"this backbone hears {self.sampling_rate} Hz, got {sampling_rate} Hz: resample.")
        waves = [raw_speech] if isinstance(raw_speech, np.ndarray) and raw_speech.ndim == 1 else list(raw_speech)
        length = max(len(wave) for wave in waves)
        values = np.zeros((len(waves), length), np.float32)
        for row, wave in zip(values, waves, strict=True):
            row[: len(wave)] = wave
        return BatchFeature({"input_values": values}, tensor_type=return_tensors)


class MelLevels(nn.Module):
    """(clips, samples) at 16 kHz to levels in dB (clips, frames, mels), a frame each 10 ms of 32 ms.

    Levels are 10 log10 of the power in each mel band, cut at 80 dB below the clip's loudest. The Fourier basis and the
    mel matrix are no weights: a saved model has neither.
    """

    basis: Tensor
    mel: Tensor

    def __init__(self) -> None:
        super().__init__()
        bins, filters = self.bands()
        self.register_buffer("basis", torch.empty(2 * len(bins), 1, _FFT), persistent=False)
        self.register_buffer("mel", torch.empty(filters.shape), persistent=False)
        self.reset()

    @abstractmethod
    def bands(self) -> tuple[npt.NDArray[np.int64], Array]:
        """The numbers of the FFT bins that are used (bins,), and what each gives to each mel band (bins, mels)."""

    def reset(self) -> None:
        """Fill the two constant matrices (transformers makes models without memory first)."""
        if self.basis.device.type != "meta":
            bins, filters = self.bands()
            self.basis.copy_(torch.from_numpy(_fourier_basis(bins)))
            self.mel.copy_(torch.from_numpy(filters))

    def forward(self, waves: Tensor) -> Tensor:
        with torch.autocast(waves.device.type, enabled=False):  # 80 dB are more than bfloat16 can tell apart
            real, imaginary = functional.conv1d(waves[:, None], self.basis, stride=_HOP).chunk(2, dim=1)
            power = (real**2 + imaginary**2).transpose(1, 2) @ self.mel  # (clips, frames, mels)
        level_db = 10 * torch.log10(power.clamp_min(_FLOOR))
        return torch.maximum(level_db, level_db.amax(dim=(1, 2), keepdim=True) - _DYNAMIC_RANGE_DB)


def masked(mels: Tensor, widest_frames: int, widest_bands: int) -> Tensor:
    """(clips, frames, bands) with one mask over each axis per clip, filled with the clip's mean (Park et al. 2019)."""
    clips, frames, bands = mels.shape
    over_time = _stripe(clips, frames, widest_frames, mels.device)[:, :, None]
    over_bands = _stripe(clips, bands, widest_bands, mels.device)[:, None, :]
    return torch.where(over_time | over_bands, mels.mean(dim=(1, 2), keepdim=True), mels)


def _stripe(rows: int, length: int, widest: int, device: torch.device) -> Tensor:
    """(rows, length) booleans, true in one run per row of a width drawn from 0 to `widest`."""
    width = torch.randint(0, widest + 1, (rows, 1), device=device)
    start = (torch.rand(rows, 1, device=device) * (length - width)).long()
    place = torch.arange(length, device=device)
    return (place >= start) & (place < start + width)


def _fourier_basis(bins: npt.NDArray[np.int64]) -> Array:
    """(2 x bins, 1, 512): cosines, then sines, under a periodic Hann window of 400 in the middle."""
    hann = np.zeros(_FFT)
    margin = (_FFT - _WINDOW) // 2
    hann[margin : margin + _WINDOW] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)
    angle = 2 * np.pi * np.outer(bins, np.arange(_FFT)) / _FFT
    return (hann * np.concatenate([np.cos(angle), np.sin(angle)])[:, None]).astype(np.float32)
