"""AST (Gong et al., "AST: Audio Spectrogram Transformer", 2021): a spectrogram in patches of 16 by 16.

Its window is fixed, 10.24 s for the public weights, and shorter clips are padded to that at full cost. So the window is
cut down to what the clips need, and the position embeddings are interpolated over time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tenuto.learning.backbones.families.base import Family, changed, stored

_FRAMES_PER_SECOND = 100


class SpectrogramTransformer(Family):
    """A frame is the mean over the patches of one moment; the clip's own vector is that of the two class tokens."""

    lora_targets = ("q_proj", "v_proj")

    def shortened(self, config: Any, feature_extractor: Any, seconds: float) -> tuple[Any, Any]:
        frames = max(math.ceil(seconds * _FRAMES_PER_SECOND - 1e-6), config.patch_size)
        if frames >= config.max_length:
            return config, feature_extractor
        return changed(config, max_length=frames), changed(feature_extractor, max_length=frames)

    def pretrained(self, source: str, config: Any, revision: str) -> tuple[Any, dict[str, Any]]:
        whole = changed(config, max_length=stored(source, revision).max_length)
        model, info = super().pretrained(source, whole, revision)
        if config.max_length != whole.max_length:
            _resize(self.encoder(model), config.max_length)
            model.config.max_length = config.max_length
        return model, info

    def frames(self, encoder: Any, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        patches = encoder(**inputs).last_hidden_state[:, 2:]  # without the class and the distillation token
        bands, moments = encoder.embeddings.get_shape(encoder.config)
        return patches.unflatten(1, (bands, moments)).mean(dim=1), None

    def pooled(self, encoder: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        own: Tensor = encoder(**inputs).pooler_output
        return own


def _resize(encoder: Any, max_length: int) -> None:
    embeddings = encoder.embeddings
    bands, moments = embeddings.get_shape(encoder.config)
    encoder.config.max_length = embeddings.config.max_length = max_length
    wanted = embeddings.get_shape(encoder.config)[1]
    positions = over_time(embeddings.position_embeddings.detach(), bands, moments, wanted)
    embeddings.position_embeddings = nn.Parameter(positions)


def over_time(positions: Tensor, bands: int, moments: int, wanted: int) -> Tensor:
    """Position embeddings (1, 2 + bands x wanted, dims) of ones for as many bands and `moments`; the tokens' stay."""
    tokens, patches = positions[:, :2], positions[:, 2:]
    grid = patches.transpose(1, 2).unflatten(2, (bands, moments))
    fitted = functional.interpolate(grid, size=(bands, wanted), mode="bilinear", align_corners=True)
    return torch.cat([tokens, fitted.flatten(2).transpose(1, 2)], dim=1)
