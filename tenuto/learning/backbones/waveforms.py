"""What the networks of our own share in front of the first layer: stacked waveforms, a Fourier basis, masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor
from transformers.feature_extraction_utils import BatchFeature

from tenuto.errors import BackboneError

SAMPLE_RATE_HZ = 16_000


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


def stripe(rows: int, length: int, widest: int, device: torch.device) -> Tensor:
    """(rows, length) booleans, true in one run per row of a width drawn from 0 to `widest`."""
    width = torch.randint(0, widest + 1, (rows, 1), device=device)
    start = (torch.rand(rows, 1, device=device) * (length - width)).long()
    place = torch.arange(length, device=device)
    return (place >= start) & (place < start + width)


def fourier_basis(bins: npt.NDArray[np.int64], window: int, fft: int) -> npt.NDArray[np.float32]:
    """(2 x bins, 1, fft): cosines, then sines, under a periodic Hann window in the middle of `fft` samples."""
    hann = np.zeros(fft)
    margin = (fft - window) // 2
    hann[margin : margin + window] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    angle = 2 * np.pi * np.outer(bins, np.arange(fft)) / fft
    return (hann * np.concatenate([np.cos(angle), np.sin(angle)])[:, None]).astype(np.float32)
