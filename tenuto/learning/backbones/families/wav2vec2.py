"""wav2vec 2.0 (Baevski et al. 2020), HuBERT (Hsu et al. 2021), WavLM (Chen et al. 2022): waves to 20 ms frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from tenuto.learning.backbones.families.base import Family


class Wav2Vec2(Family):
    """A convolutional feature encoder below a transformer."""

    lora_targets = ("q_proj", "v_proj")

    def layers(self, encoder: Any) -> nn.ModuleList:
        found: nn.ModuleList = encoder.encoder.layers
        return found

    def front(self, encoder: Any) -> list[nn.Module]:
        body = encoder.encoder
        # with stable layer norm the one of the body comes after the layers
        norm = [] if encoder.config.do_stable_layer_norm else [body.layer_norm]
        return [encoder.feature_extractor, encoder.feature_projection, body.pos_conv_embed, *norm]

    def frames(self, encoder: Any, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        frames = encoder(**inputs).last_hidden_state
        mask = inputs.get("attention_mask")
        if mask is None:
            return frames, None
        return frames, encoder._get_feature_vector_attention_mask(frames.shape[1], mask).bool()


class WavLM(Wav2Vec2):
    """Its attention reads the matrices of its projections and never calls them: updates go to the feed-forward."""

    lora_targets = ("intermediate_dense", "output_dense")
