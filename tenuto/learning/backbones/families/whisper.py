"""The encoder of Whisper (Radford et al., "Robust speech recognition via large-scale weak supervision", 2022)."""

from __future__ import annotations

from typing import Any

from torch import nn

from tenuto.learning.backbones.families.base import Family


class Whisper(Family):
    """Two convolutions and a transformer on a log-mel spectrogram of fixed length; the decoder is never used."""

    lora_targets = ("q_proj", "v_proj")

    def encoder(self, model: Any) -> nn.Module:
        inner = getattr(model, "model", model)
        found: nn.Module = getattr(inner, "encoder", inner)
        return found
