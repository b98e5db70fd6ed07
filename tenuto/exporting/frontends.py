"""Feature extraction as torch modules, so that it can be part of an exported graph.

Training extracts features with transformers' numpy code, clip by clip. Here the same numbers are made of a batch of
waves by convolutions: whatever an extractor does to a frame before the power spectrum is linear, so it is one matrix.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from tenuto.errors import ExportError
from tenuto.learning.backbones.waveforms import WaveformStack
from tenuto.learning.preprocessing import MASK, Preprocessing

_POWER_FLOOR = 1e-10


class Frontend(Protocol):
    """Waves (clips, samples), with masks also lengths (clips,), to what a model is called with."""

    def __call__(self, waves: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]: ...


def of(preprocessing: Preprocessing) -> Frontend:
    """What does the work of a preprocessing's feature extractor; ExportError when there is none for it."""
    extractor = preprocessing.feature_extractor
    makers = {
        "Wav2Vec2FeatureExtractor": Normalised,
        "ASTFeatureExtractor": KaldiFilterBank,
        "WhisperFeatureExtractor": WhisperLogMel,
        "ClapFeatureExtractor": ClapLogMel,
    }
    name = type(extractor).__name__
    if isinstance(extractor, WaveformStack):
        return Waveforms(extractor)
    if name not in makers:
        raise ExportError(f"the feature extractor {name} is not among those that can be exported: {', '.join(makers)}")
    return makers[name](extractor)


class Waveforms(nn.Module):
    """The waves as they are: the network has its spectrogram inside."""

    def __init__(self, extractor: Any) -> None:
        super().__init__()
        self.name = str(extractor.model_input_names[0])

    def forward(self, waves: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        return {self.name: waves}


class Normalised(Waveforms):
    """wav2vec 2.0 and its kin: each clip brought to mean 0 and variance 1, over what of it is clip."""

    def __init__(self, extractor: Any) -> None:
        super().__init__(extractor)
        self.normalises = bool(extractor.do_normalize)

    def forward(self, waves: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        if lengths is None:
            return {self.name: self._normalised(waves, torch.ones_like(waves))}
        heard = torch.arange(waves.shape[1], device=waves.device) < lengths[:, None]
        return {self.name: self._normalised(waves, heard.to(waves.dtype)), MASK: heard.int()}

    def _normalised(self, waves: Tensor, heard: Tensor) -> Tensor:
        """`heard` (clips, samples) is 1 where there is clip; the rest becomes 0."""
        if not self.normalises:
            return waves
        samples = heard.sum(dim=1, keepdim=True)
        centred = (waves - (waves * heard).sum(dim=1, keepdim=True) / samples) * heard
        variance = centred.square().sum(dim=1, keepdim=True) / samples
        return centred / torch.sqrt(variance + 1e-7)


class _PowerBands(nn.Module):
    """(clips, samples) to the power in mel bands (clips, frames, bands), by one convolution and one matrix."""

    basis: Tensor
    filters: Tensor

    def __init__(self, frames: npt.NDArray[np.float64], filters: npt.NDArray[np.float64], hop: int, fft: int) -> None:
        """`frames` (taps, taps) is what is done to a frame before its spectrum; `filters` (bins, bands)."""
        super().__init__()
        angle = 2 * np.pi * np.outer(np.arange(fft // 2 + 1), np.arange(len(frames))) / fft
        basis = np.concatenate([np.cos(angle), np.sin(angle)]) @ frames  # (2 x bins, taps)
        self.hop = hop
        self.register_buffer("basis", torch.from_numpy(basis[:, None].astype(np.float32)))
        self.register_buffer("filters", torch.from_numpy(np.asarray(filters, np.float32)))

    def forward(self, waves: Tensor) -> Tensor:
        real, imaginary = functional.conv1d(waves[:, None], self.basis, stride=self.hop).chunk(2, dim=1)
        return (real.square() + imaginary.square()).transpose(1, 2) @ self.filters


class KaldiFilterBank(nn.Module):
    """AST: Kaldi's log filter bank, frames of 25 ms without their mean, with preemphasis, zeros after the last."""

    FLOOR = 1.192092955078125e-07
    """The least power of a band: float32's epsilon, as in Kaldi."""

    def __init__(self, extractor: Any) -> None:
        super().__init__()
        from transformers.audio_utils import mel_filter_bank

        rate = extractor.sampling_rate
        filters = mel_filter_bank(257, extractor.num_mel_bins, 20, rate // 2, rate, None, "kaldi", True)
        taps = 400
        without_mean = np.eye(taps) - 1 / taps
        emphasis = np.eye(taps) - 0.97 * np.eye(taps, k=-1)
        emphasis[0, 0] = 1 - 0.97
        symmetric_hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(taps) / (taps - 1))
        self.bands = _PowerBands(symmetric_hann[:, None] * emphasis @ without_mean, filters, hop=160, fft=512)
        self.frames = int(extractor.max_length)
        self.mean = float(extractor.mean) if extractor.do_normalize else 0.0
        self.scale = 2 * float(extractor.std) if extractor.do_normalize else 1.0

    def forward(self, waves: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        levels = self.bands(waves).clamp_min(self.FLOOR).log()
        whole = functional.pad(levels, (0, 0, 0, self.frames - levels.shape[1]))
        return {"input_values": (whole - self.mean) / self.scale}


class WhisperLogMel(nn.Module):
    """Whisper: log10 of mel bands, at most 8 below the clip's loudest, of a clip with silence up to its window."""

    def __init__(self, extractor: Any) -> None:
        super().__init__()
        taps = extractor.n_fft
        self.bands = _PowerBands(np.diag(_hann(taps)), extractor.mel_filters, extractor.hop_length, taps)
        self.samples = int(extractor.n_samples)
        self.margin = taps // 2

    def forward(self, waves: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        whole = functional.pad(waves, (0, self.samples - waves.shape[1]))
        centred = functional.pad(whole, (self.margin, self.margin), mode="reflect")
        levels = self.bands(centred)[:, :-1].clamp_min(_POWER_FLOOR).log10()
        loudest = levels.amax(dim=(1, 2), keepdim=True)
        return {"input_features": (torch.maximum(levels, loudest - 8).transpose(1, 2) + 4) / 4}


class ClapLogMel(nn.Module):
    """CLAP: mel bands in dB of a clip that is repeated as often as it fits into the window, then silence."""

    def __init__(self, extractor: Any) -> None:
        super().__init__()
        fuses = extractor.truncation == "fusion"
        taps = extractor.fft_window_size
        filters = extractor.mel_filters if fuses else extractor.mel_filters_slaney
        self.bands = _PowerBands(np.diag(_hann(taps)), filters, extractor.hop_length, taps)
        self.padding = str(extractor.padding)
        self.samples = int(extractor.nb_max_samples)
        self.margin = taps // 2
        self.views = 4 if fuses else 1  # the fusion's views are one and the same for a clip that fits

    def forward(self, waves: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        centred = functional.pad(self._repeated(waves), (self.margin, self.margin), mode="reflect")
        levels_db = 10 * self.bands(centred).clamp_min(_POWER_FLOOR).log10()
        return {"input_features": levels_db[:, None].expand(-1, self.views, -1, -1)}

    def _repeated(self, waves: Tensor) -> Tensor:
        place = torch.arange(self.samples, device=waves.device)
        length, window = torch.full_like(place[:1], waves.shape[1]), torch.full_like(place[:1], self.samples)
        repeats = {"repeat": window // length + 1, "repeatpad": window // length}.get(self.padding, 1)
        return waves[:, place % length] * (place < repeats * length)


def _hann(taps: int) -> npt.NDArray[np.float64]:
    """(taps,), periodic."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(taps) / taps)
