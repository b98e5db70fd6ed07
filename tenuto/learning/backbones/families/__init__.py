"""What the families of backbones have in common, and what each does its own way: front, layers, frames, freezing.

A model is taken apart here and nowhere else, so heads, adapters, truncation and optimizers need not know one family
from another. A family that is not listed is taken apart by the shape of its modules.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from tenuto.learning.backbones.families.base import Family
from tenuto.learning.backbones.families.clap import Clap
from tenuto.learning.backbones.families.ours import LogMel, SpeechEmbedding
from tenuto.learning.backbones.families.spectrogram import SpectrogramTransformer
from tenuto.learning.backbones.families.wav2vec2 import Wav2Vec2, WavLM
from tenuto.learning.backbones.families.whisper import Whisper

__all__ = ["Family", "of", "stack"]

_FAMILIES: dict[str, Family] = {
    "tenuto-speech-embedding": SpeechEmbedding(),
    "tenuto-log-mel": LogMel(),
    "audio-spectrogram-transformer": SpectrogramTransformer(),
    "wav2vec2": Wav2Vec2(),
    "hubert": Wav2Vec2(),
    "wavlm": WavLM(),
    "whisper": Whisper(),
    "clap": Clap(),
    "clap_audio_model": Clap(),
}
_ANY = Family()


def of(config: Any) -> Family:
    """The family of a model with this config; of the backbone inside when the config has a `backbone_config`."""
    inner = getattr(config, "backbone_config", None) or config
    return _FAMILIES.get(inner.model_type, _ANY)


def stack(model: Any) -> list[list[nn.Parameter]]:
    """The parameters of a model from bottom to top, each exactly once: front, every layer, then all the rest.

    The rest is the head and what lies between it and the layers (a last norm, a projector). A model of our own that
    wraps a backbone has its config as `config.backbone_config` and its encoder as `encoder` (`base_model_prefix`).
    """
    family = of(model.config)
    encoder = family.encoder(model)
    groups = [family.front(encoder), *family.grouped(encoder), [model]]
    seen: set[int] = set()
    return [[p for module in group for p in module.parameters() if _is_new(p, seen)] for group in groups]


def _is_new(parameter: nn.Parameter, seen: set[int]) -> bool:
    known = id(parameter) in seen
    seen.add(id(parameter))
    return not known
