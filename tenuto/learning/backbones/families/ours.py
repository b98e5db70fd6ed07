"""The families of our own: the embedded speech-embedding CNN and the log-mel networks that are trained from scratch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from transformers import AutoModelForAudioClassification

from tenuto.learning.backbones import log_mel, speech_embedding
from tenuto.learning.backbones.families.base import Family


class SpeechEmbedding(Family):
    """Twenty convolutions, each a layer."""

    def layers(self, encoder: Any) -> nn.ModuleList:
        found: nn.ModuleList = encoder.convolutions
        return found

    def grouped(self, encoder: Any) -> list[list[nn.Module]]:
        return [list(pair) for pair in zip(encoder.convolutions, encoder.norms, strict=True)]

    def truncate(self, encoder: Any, count: int) -> None:
        super().truncate(encoder, count)
        del encoder.norms[count:]

    def front(self, encoder: Any) -> list[nn.Module]:
        return [encoder.log_mel]

    def highest_hz(self, config: Any, feature_extractor: Any) -> float:
        return speech_embedding.HIGHEST_HZ

    def frames(self, encoder: Any, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        return encoder.frames(inputs["input_values"]), None

    def width(self, encoder: Any) -> int:
        return speech_embedding.CHANNELS[len(encoder.convolutions) - 1]

    def widths(self, encoder: Any) -> list[int]:
        return list(speech_embedding.CHANNELS[: len(encoder.convolutions)])

    def load(self, source: str, config: Any, revision: str) -> nn.Module:
        if source != speech_embedding.NAME:  # a checkpoint folder, fine-tuned already
            return super().load(source, config, revision)
        encoder = self.empty(config)
        assert isinstance(encoder, speech_embedding.SpeechEmbeddingEncoder)
        speech_embedding.load_weights(encoder)
        return encoder


class LogMel(Family):
    """Blocks of convolutions, each a layer, and for the CRNN a GRU above them; the encoder is the whole network."""

    def encoder(self, model: Any) -> nn.Module:
        found: nn.Module = model if hasattr(model, "blocks") else model.encoder
        return found

    def layers(self, encoder: Any) -> nn.ModuleList:
        found: nn.ModuleList = encoder.blocks
        return found

    def front(self, encoder: Any) -> list[nn.Module]:
        return [encoder.log_mel]

    def highest_hz(self, config: Any, feature_extractor: Any) -> float:
        return log_mel.HIGHEST_HZ

    def frames(self, encoder: Any, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        return encoder.frames(inputs["input_values"]), None

    def pooled(self, encoder: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        pooled: Tensor = encoder.pool_frames(self.frames(encoder, inputs)[0])
        return pooled

    def truncate(self, encoder: Any, count: int) -> None:
        whole = len(encoder.blocks)
        super().truncate(encoder, count)
        if count < whole and encoder.recurrent is not None:
            encoder.recurrent = None

    def width(self, encoder: Any) -> int:
        if encoder.recurrent is not None:
            return int(encoder.config.hidden_size)
        return int(encoder.config.channels[len(encoder.blocks) - 1])

    def pooled_width(self, encoder: Any) -> int:
        return self.width(encoder) * (1 if encoder.recurrent is not None else 2)

    def empty(self, config: Any) -> nn.Module:
        network: Any = AutoModelForAudioClassification.from_config(config)
        network.classifier = nn.Identity()
        whole: nn.Module = network
        return whole
