"""AST (Gong et al., "AST: Audio Spectrogram Transformer", 2021): a spectrogram in patches of 16 by 16."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from tenuto.learning.backbones.families.base import Family


class SpectrogramTransformer(Family):
    """A frame is the mean over the patches of one moment; the clip's own vector is that of the two class tokens."""

    lora_targets = ("q_proj", "v_proj")

    def frames(self, encoder: Any, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        patches = encoder(**inputs).last_hidden_state[:, 2:]  # without the class and the distillation token
        bands, moments = encoder.embeddings.get_shape(encoder.config)
        return patches.unflatten(1, (bands, moments)).mean(dim=1), None

    def pooled(self, encoder: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        own: Tensor = encoder(**inputs).pooler_output
        return own
