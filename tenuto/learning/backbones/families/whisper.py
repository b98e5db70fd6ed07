"""The encoder of Whisper (Radford et al., "Robust speech recognition via large-scale weak supervision", 2022)."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from tenuto.learning.backbones.families.base import Family, changed, stored

_FRAMES_PER_POSITION = 2  # the second convolution's stride


class Whisper(Family):
    """Two convolutions and a transformer on a log-mel spectrogram of 30 s; the decoder is never used.

    The window is cut down to as many whole seconds as the clips need: its positions are a table of which the first
    rows are used.
    """

    lora_targets = ("q_proj", "v_proj")

    def shortened(self, config: Any, feature_extractor: Any, seconds: float) -> tuple[Any, Any]:
        chunk = max(math.ceil(seconds - 1e-6), 1)
        if chunk >= feature_extractor.chunk_length:
            return config, feature_extractor
        samples = chunk * feature_extractor.sampling_rate
        frames = samples // feature_extractor.hop_length
        extractor = changed(feature_extractor, chunk_length=chunk, n_samples=samples, nb_max_frames=frames)
        return changed(config, max_source_positions=frames // _FRAMES_PER_POSITION), extractor

    def pretrained(self, source: str, config: Any, revision: str) -> tuple[Any, dict[str, Any]]:
        whole = changed(config, max_source_positions=stored(source, revision).max_source_positions)
        model, info = super().pretrained(source, whole, revision)
        count = config.max_source_positions
        if count != whole.max_source_positions:
            encoder: Any = self.encoder(model)
            table = encoder.embed_positions.weight.detach()[:count]
            encoder.embed_positions = nn.Embedding.from_pretrained(table.clone(), freeze=True)
            encoder.max_source_positions = encoder.config.max_source_positions = count
            model.config.max_source_positions = count
        return model, info

    def encoder(self, model: Any) -> nn.Module:
        inner = getattr(model, "model", model)
        found: nn.Module = getattr(inner, "encoder", inner)
        return found
