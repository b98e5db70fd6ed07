"""The audio side of CLAP (Wu et al., "Large-scale contrastive language-audio pretraining", 2023): HTS-AT, a Swin.

transformers has no audio classifier for it, so it is used through a model of our own only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import ClapAudioConfig, ClapAudioModel

from tenuto.errors import BackboneError
from tenuto.learning.backbones.families.base import Family, pretrained


class Clap(Family):
    """Its layers are the stages of the Swin; between two of them time and frequency are halved and dims doubled."""

    lora_targets = ("query", "value")

    def encoder(self, model: Any) -> nn.Module:
        for name in ("encoder", "audio_model"):
            model = getattr(model, name, model)
        found: nn.Module = model
        return found

    def layers(self, encoder: Any) -> nn.ModuleList:
        found: nn.ModuleList = encoder.audio_encoder.layers
        return found

    def front(self, encoder: Any) -> list[nn.Module]:
        return [encoder.audio_encoder.batch_norm, encoder.audio_encoder.patch_embed]

    def truncate(self, encoder: Any, count: int) -> None:
        full = len(self.layers(encoder))
        super().truncate(encoder, count)
        if count < full:
            encoder.audio_encoder.layers[-1].downsample = None
            # the norm that was learned is for the last stage's dims
            encoder.audio_encoder.norm = nn.LayerNorm(self.width(encoder), elementwise_affine=False)

    def highest_hz(self, config: Any, feature_extractor: Any) -> float:
        return float(min(feature_extractor.frequency_max, feature_extractor.sampling_rate / 2))

    def frames(self, encoder: Any, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        body = encoder.audio_encoder
        spectrograms = inputs["input_features"]
        levels = body.batch_norm(spectrograms.transpose(1, 3)).transpose(1, 3)
        fused = torch.zeros(0, dtype=torch.long, device=spectrograms.device) if body.enable_fusion else None
        hidden = body.patch_embed(body.reshape_mel2img(levels), fused)
        for stage, resolution in zip(body.layers, body.input_resolutions, strict=False):
            hidden = stage(hidden, resolution)[0]
        side = round(hidden.shape[1] ** 0.5)
        # the spectrogram lies in the image cut into strips, one below the other
        strips = body.norm(hidden).unflatten(1, (body.freq_ratio, side // body.freq_ratio, side))
        return strips.mean(dim=2).flatten(1, 2), None

    def width(self, encoder: Any) -> int:
        return int(encoder.config.patch_embeds_hidden_size * 2 ** (len(self.layers(encoder)) - 1))

    def widths(self, encoder: Any) -> list[int]:
        first, count = encoder.config.patch_embeds_hidden_size, len(self.layers(encoder))
        return [int(first * 2 ** min(index + 1, count - 1)) for index in range(count)]  # halved sides, doubled dims

    def pretrained(self, source: str, config: Any, revision: str) -> tuple[Any, dict[str, Any]]:
        raise BackboneError(f"backbone {source!r} has no classifier of its own: set model.pool, to mean for example.")

    def empty(self, config: Any) -> nn.Module:
        found: nn.Module = ClapAudioModel(_audio(config))
        return found

    def load(self, source: str, config: Any, revision: str) -> nn.Module:
        found: nn.Module = pretrained(ClapAudioModel, source, _audio(config), revision)[0]
        return found


def _audio(config: Any) -> ClapAudioConfig:
    return getattr(config, "audio_config", config)
