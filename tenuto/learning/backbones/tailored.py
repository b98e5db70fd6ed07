"""A backbone's encoder with layers cut off or adapters put in, a pool and a head of one's choice, as one model.

It is a transformers audio classifier, saved and loaded like any other. `model:` in params.yaml says how it is made;
while nothing there is set, the backbone's own classifier is used instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModelForAudioClassification, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from tenuto.errors import BackboneError
from tenuto.labels import MULTI_LABEL
from tenuto.learning import heads
from tenuto.learning.backbones import adapters, families
from tenuto.learning.backbones.waveforms import MelLevels
from tenuto.settings import LEARNED_POOLS, ModelSettings

_WINDOWS_AT_ONCE = 32


class TailoredConfig(PreTrainedConfig):
    """The encoder's own config, and `model:` of params.yaml; LoRA is merged and leaves no trace.

    With `has_windows` every input has a second dimension: (clips, windows, ...).
    """

    model_type = "tenuto-tailored"

    backbone_config: dict[str, Any] | PreTrainedConfig | None = None
    pool: str = "own"
    head: str = "linear"
    hidden_size: int = 128
    truncate: int | None = None
    adapter_size: int = 0
    has_windows: bool = False
    apply_spec_augment: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        if isinstance(self.backbone_config, dict):
            self.backbone_config = AutoConfig.for_model(**self.backbone_config)
        super().__post_init__(**kwargs)


def config_for(backbone: Any, tailoring: ModelSettings) -> TailoredConfig:
    """The config of a model around an encoder with the config `backbone`, for its labels.

    BackboneError when LoRA is wanted of a family that has no layers for it.
    """
    if tailoring.lora_rank and not families.of(backbone).lora_targets:
        raise BackboneError(
            f"model.lora_rank: {tailoring.lora_rank}: this backbone is no transformer; wanted 0 (model.adapter_size "
            "goes with every backbone)."
        )
    return TailoredConfig(
        backbone_config=backbone,
        pool=tailoring.pool,
        head=tailoring.head,
        hidden_size=tailoring.hidden_size,
        truncate=tailoring.truncate,
        adapter_size=tailoring.adapter_size,
        has_windows=tailoring.window_seconds is not None,
        id2label=backbone.id2label,
        label2id=backbone.label2id,
        problem_type=backbone.problem_type,
    )


class TailoredForAudioClassification(PreTrainedModel):
    """Features as the backbone's preprocessing gives them to logits (clips, classes).

    `model.pool` is over all frames of a clip, whichever window they are from. The pool 'own' is what the backbone's own
    classifier does with frames (the mean for most, the class tokens for AST); of several windows the mean over their
    vectors. `encoder` is one with pre-trained weights, whole; without it the weights are random. Raises BackboneError
    for a truncation to more layers than there are.
    """

    config_class = TailoredConfig
    base_model_prefix = "encoder"
    main_input_name = "input_values"

    def __init__(self, config: TailoredConfig, encoder: nn.Module | None = None) -> None:
        super().__init__(config)
        self.family = families.of(config)
        self.encoder = self.family.empty(config.backbone_config) if encoder is None else encoder
        if config.truncate:
            self.family.truncate(self.encoder, config.truncate)
        width = self.family.pooled_width if config.pool == "own" else self.family.width
        self.pool = heads.pool(config.pool, width(self.encoder), config.hidden_size)
        self.head = heads.head(config.head, self.pool.width, len(config.id2label or {}), config.hidden_size)
        self.post_init()
        if config.adapter_size:  # later: the encoder would draw their weights anew
            adapters.adapt(self.encoder, self.family, config.adapter_size)

    def forward(self, labels: Tensor | None = None, **features: Tensor) -> SequenceClassifierOutput:
        logits = self.head(self.vectors(features, self.pool))
        return SequenceClassifierOutput(loss=None if labels is None else self._loss(logits, labels), logits=logits)

    def frozen(self, features: Mapping[str, Tensor]) -> Tensor:
        """(clips, dims): what the head is fitted on before anything is trained; learned pools start as the mean."""
        pool = heads.MeanPool(self.pool.dims) if self.config.pool in LEARNED_POOLS else self.pool
        with torch.no_grad():
            return self.vectors(features, pool)

    @property
    def frozen_key(self) -> str:
        """What `frozen` depends on besides the backbone's weights and the features."""
        pool = "mean" if self.config.pool in LEARNED_POOLS else self.config.pool
        return f"pool={pool} truncate={self.config.truncate}"

    def vectors(self, features: Mapping[str, Tensor], pool: heads.Pool) -> Tensor:
        """(clips, width) of each clip's frames by `pool`."""
        windows = next(iter(features.values())).shape[1] if self.config.has_windows else 1
        if self.config.has_windows:
            features = {name: values.flatten(0, 1) for name, values in features.items()}
        parts = self._parts(features)
        if self.config.pool == "own":
            own = torch.cat([self.family.pooled(self.encoder, part) for part in parts])
            return own.unflatten(0, (-1, windows)).mean(dim=1)
        found, masks = zip(*(self.family.frames(self.encoder, part) for part in parts), strict=True)
        frames = torch.cat(found).unflatten(0, (-1, windows)).flatten(1, 2)
        heard = None if masks[0] is None else torch.cat(masks).unflatten(0, (-1, windows)).flatten(1, 2)
        return pool(frames, heard)

    def _parts(self, features: Mapping[str, Tensor]) -> list[Mapping[str, Tensor]]:
        """The windows a few at a time where nothing is learned, so that ten minutes do not fill the memory."""
        if not self.config.has_windows or torch.is_grad_enabled() or torch.compiler.is_exporting():
            return [features]
        count = len(next(iter(features.values())))
        starts = range(0, count, _WINDOWS_AT_ONCE)
        return [{name: values[at : at + _WINDOWS_AT_ONCE] for name, values in features.items()} for at in starts]

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.config.problem_type == MULTI_LABEL:
            return functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
        return functional.cross_entropy(logits, labels)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, MelLevels):
            module.reset()


def register() -> None:
    """Make the transformers Auto classes know this model; calling it again changes nothing."""
    AutoConfig.register(TailoredConfig.model_type, TailoredConfig, exist_ok=True)
    AutoModelForAudioClassification.register(TailoredConfig, TailoredForAudioClassification, exist_ok=True)
