"""Ways to fine-tune a large encoder without moving its own weights: adapters that stay, and LoRA that is merged.

Both start as the identity, so a head that was fitted on the frozen embeddings fits the adapted encoder as well.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from tenuto.learning.backbones import families
from tenuto.settings import ModelSettings


class Adapter(nn.Module):
    """A bottleneck with a residual connection: h + U gelu(D h), where U starts at 0.

    Houlsby et al., "Parameter-efficient transfer learning for NLP", ICML 2019; one behind each whole layer, as in
    Pfeiffer et al., "AdapterFusion", 2021. `axis` is the one that holds the layer's `width` channels.
    """

    def __init__(self, width: int, size: int, *, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.down = nn.Linear(width, size)
        self.up = nn.Linear(size, width)
        nn.init.normal_(self.down.weight, std=width**-0.5)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        update = self.up(functional.gelu(self.down(hidden.movedim(self.axis, -1))))
        return cast(Tensor, hidden + update.movedim(-1, self.axis))


class AdaptedLayer(nn.Module):
    """A layer of an encoder with an adapter behind it; what else the layer gives is passed on."""

    def __init__(self, layer: nn.Module, adapter: Adapter) -> None:
        super().__init__()
        self.layer = layer
        self.adapter = adapter

    def forward(self, *inputs: Any, **options: Any) -> Any:
        found = self.layer(*inputs, **options)
        return (self.adapter(found[0]), *found[1:]) if isinstance(found, tuple) else self.adapter(found)


def adapt(encoder: nn.Module, family: families.Family, size: int) -> None:
    """Put an adapter of `size` units behind each layer of the encoder."""
    layers = family.layers(encoder)
    for index, (layer, width) in enumerate(zip(list(layers), family.widths(encoder), strict=True)):
        layers[index] = AdaptedLayer(layer, Adapter(width, size, axis=1 if isinstance(layer, nn.Conv2d) else -1))


def spare(model: Any, tailoring: ModelSettings, seed: int) -> LowRank | None:
    """Freeze what a model with adapters or LoRA leaves as it is; with LoRA, the updates, to be merged after training.

    Beside pool and head, adapters are trained and, as Houlsby et al. do, the layer norms.
    """
    if tailoring.adapter_size:
        model.encoder.requires_grad_(False)
        for module in model.encoder.modules():
            if isinstance(module, Adapter | nn.LayerNorm):
                module.requires_grad_(True)
    if not tailoring.lora_rank:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LowRank(model.encoder, model.family, tailoring.lora_rank)


class LowRank:
    """Low-rank updates of an encoder's linear layers, everything else of the encoder frozen.

    Hu et al., "LoRA: low-rank adaptation of large language models", ICLR 2022, by the library peft.
    """

    def __init__(self, encoder: nn.Module, family: families.Family, rank: int) -> None:
        from peft import LoraConfig, LoraModel

        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(family.lora_targets))
        self._tuner = LoraModel(encoder, config, "default")

    def merge(self) -> None:
        """Add the updates to the weights, so that the encoder is again what it was before, but trained."""
        self._tuner.merge_and_unload()
