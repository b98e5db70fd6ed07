"""GRU and LSTM as the nodes that ONNX has for them, while a graph is made.

torch's exporter unrolls them over time, which fixes the number of frames, and it knows no packed sequences. ONNX's
nodes take how many frames of each clip count.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tenuto.learning.heads import RecurrentPool

_GRU_ORDER, _LSTM_ORDER = (1, 0, 2), (0, 3, 1, 2)
"""Where ONNX's gates are among torch's: reset, update, new there; input, forget, cell, output there."""


@contextlib.contextmanager
def as_nodes(model: nn.Module) -> Iterator[None]:
    """Inside, the recurrent layers of a model become nodes of the graph that it is traced to, and give no values."""
    swapped: list[tuple[nn.Module, str]] = []
    for module in model.modules():
        if isinstance(module, RecurrentPool):
            _swap(module, "states", _states(module.recurrent), swapped)
        elif isinstance(module, nn.GRU | nn.LSTM):
            find = _states(module)
            _swap(module, "forward", lambda frames, find=find: (find(frames), None), swapped)
    try:
        yield
    finally:
        for module, name in swapped:
            delattr(module, name)


def _swap(module: nn.Module, name: str, function: Callable[..., object], swapped: list[tuple[nn.Module, str]]) -> None:
    setattr(module, name, function)
    swapped.append((module, name))


def _states(layer: nn.GRU | nn.LSTM) -> Callable[..., Tensor]:
    """(clips, frames, 2 x hidden) of frames (clips, frames, dims), 0 after the first `counts` (clips,) frames."""
    is_lstm = isinstance(layer, nn.LSTM)
    order = _LSTM_ORDER if is_lstm else _GRU_ORDER

    def find(frames: Tensor, counts: Tensor | None = None) -> Tensor:
        weights, recurrences = _both(layer, "weight_ih", order), _both(layer, "weight_hh", order)
        biases = torch.cat([_both(layer, "bias_ih", order), _both(layer, "bias_hh", order)], dim=1)
        lengths = None if counts is None else counts.to(torch.int32)
        attributes: dict[str, Any] = {"hidden_size": layer.hidden_size, "direction": "bidirectional"}
        if not is_lstm:
            attributes["linear_before_reset"] = 1
        clips, steps, _ = frames.shape
        found = torch.onnx.ops.symbolic(
            "LSTM" if is_lstm else "GRU",
            (frames.transpose(0, 1), weights, recurrences, biases, lengths),
            attributes,
            dtype=frames.dtype,
            shape=(steps, 2, clips, layer.hidden_size),
            version=14,
        )
        return found.permute(2, 0, 1, 3).flatten(2)

    return find


def _both(layer: nn.GRU | nn.LSTM, name: str, order: tuple[int, ...]) -> Tensor:
    """(2, gates x hidden, ...): a parameter of both directions, its gates in the order of ONNX."""
    found = (getattr(layer, f"{name}_l0{suffix}") for suffix in ("", "_reverse"))
    return torch.stack([torch.cat([each.chunk(len(order))[gate] for gate in order]) for each in found])
