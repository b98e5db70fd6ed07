"""A family as most transformers encoders are built; the others override what they do differently."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForAudioClassification

from tenuto.errors import BackboneError


class Family:
    """How the models of one family are taken apart and put together.

    An `encoder` is what turns inputs into frames: the body of an audio classifier, without its head.
    """

    lora_targets: tuple[str, ...] = ()
    """Names of the linear layers that low-rank updates go with; empty: the family has none."""

    def encoder(self, model: Any) -> nn.Module:
        """The body inside an audio classifier, or the model itself when it is one."""
        found: nn.Module = getattr(model, model.base_model_prefix, model)
        return found

    def layers(self, encoder: nn.Module) -> nn.ModuleList:
        """The layers from bottom to top; items may be replaced in place. BackboneError when there are none."""
        lists = [module for module in encoder.modules() if isinstance(module, nn.ModuleList)]
        if not lists:
            raise BackboneError(f"{type(encoder).__name__} has no list of layers that could be taken apart.")
        return max(lists, key=lambda found: sum(p.numel() for p in found.parameters()))

    def grouped(self, encoder: nn.Module) -> list[list[nn.Module]]:
        """The modules that make up each layer, from bottom to top."""
        return [[layer] for layer in self.layers(encoder)]

    def truncate(self, encoder: nn.Module, count: int) -> None:
        """Cut off all but the first `count` layers; BackboneError when there are not as many."""
        layers = self.layers(encoder)
        if not 1 <= count <= len(layers):
            raise BackboneError(f"model.truncate: {count}: this backbone has {len(layers)} layers; wanted 1 to that.")
        del layers[count:]

    def front(self, encoder: nn.Module) -> list[nn.Module]:
        """What lies below the layers: convolutions, embeddings; in the order in which the model names its parts."""
        layers = self.layers(encoder)
        before: list[nn.Module] = []
        for child in encoder.children():
            if child is layers:
                return before
            if any(module is layers for module in child.modules()):
                return before + self.front(child)
            before.append(child)
        return before

    def frames(self, encoder: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """(clips, frames, dims) of features, and a mask (clips, frames), True where something was heard, or None."""
        return encoder(**inputs).last_hidden_state, None

    def pooled(self, encoder: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
        """(clips, dims): the vector of each clip that the backbone's own classifier would be given."""
        frames, heard = self.frames(encoder, inputs)
        if heard is None:
            return frames.mean(dim=1)
        return (frames * heard[:, :, None]).sum(dim=1) / heard.sum(dim=1, keepdim=True)

    def width(self, encoder: Any) -> int:
        """The dims of a frame, as truncated as the encoder is."""
        return int(encoder.config.hidden_size)

    def pooled_width(self, encoder: Any) -> int:
        """The dims of what `pooled` gives."""
        return self.width(encoder)

    def widths(self, encoder: Any) -> list[int]:
        """How many channels each layer gives: on the last axis, or on axis 1 where it is a convolution."""
        return [self.width(encoder)] * len(self.layers(encoder))

    def highest_hz(self, config: Any, feature_extractor: Any) -> float:
        """The highest frequency that the models listen to."""
        return float(feature_extractor.sampling_rate) / 2

    def shortened(self, config: Any, feature_extractor: Any, seconds: float) -> tuple[Any, Any]:
        """Config and feature extractor with a fixed window cut down to `seconds`, where the family has one.

        A window is never made longer. The pre-trained weights are fitted to it when they are loaded.
        """
        return config, feature_extractor

    def pretrained(self, source: str, config: Any, revision: str) -> tuple[Any, dict[str, Any]]:
        """An audio classifier with pre-trained weights, and what transformers says was missing of them.

        The head is new where its size differs. BackboneError when there are no such weights.
        """
        return pretrained(AutoModelForAudioClassification, source, config, revision)

    def empty(self, config: Any) -> nn.Module:
        """An encoder with random weights."""
        return self.encoder(AutoModelForAudioClassification.from_config(config))

    def load(self, source: str, config: Any, revision: str) -> nn.Module:
        """An encoder with the pre-trained weights of a folder or hub id; BackboneError when there are none."""
        return self.encoder(self.pretrained(source, config, revision)[0])


def pretrained(auto: Any, source: str, config: Any, revision: str) -> tuple[Any, dict[str, Any]]:
    """A model by an Auto class and what was missing; a head of another size is new."""
    try:
        model, info = auto.from_pretrained(
            source,
            config=config,
            revision=_of_hub(source, revision),
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise BackboneError(f"backbone {source!r} is no audio classifier that loads: {first_line(error)}") from error
    return model, info


def stored(source: str, revision: str) -> Any:
    """The config that the weights of a folder or hub id were saved with."""
    return AutoConfig.from_pretrained(source, revision=_of_hub(source, revision))


def changed(config: Any, **choices: Any) -> Any:
    """A copy of a config or feature extractor with other choices."""
    copied = copy.deepcopy(config)
    for name, value in choices.items():
        setattr(copied, name, value)
    return copied


def _of_hub(source: str, revision: str) -> str | None:
    return None if Path(source).is_dir() else revision


def first_line(error: Exception) -> str:
    """What a library's error says first."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
