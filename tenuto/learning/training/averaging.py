"""Running means of a model's weights, which often generalise better than the weights that training ends with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

FILE_NAME = "averaged.safetensors"

_EMA_DECAY = 0.999


class Average:
    """The running mean of a model's weights and buffers over the steps of its training, on top of the model itself.

    "ema" is exponential, with a decay of at most 0.999 that grows while training (so about the last ninth of the steps
    so far counts), "swa" the mean of all steps of the last quarter's epochs, at least of one (Izmailov et al.,
    "Averaging weights leads to wider optima and better generalization", 2018). Statistics of batch norms are averaged
    by the first, and measured anew for the second.
    """

    def __init__(self, model: nn.Module, kind: Literal["ema", "swa"], *, epochs: int, steps_per_epoch: int) -> None:
        self._model = model
        self._kind = kind
        self._first = 0 if kind == "ema" else (epochs - max(1, epochs // 4)) * steps_per_epoch
        self._mean: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step`, from 1; call it after each one."""
        share = self._share(step - self._first)
        for name, value in self._model.state_dict().items() if share else ():
            if share == 1 or not value.is_floating_point():
                self._mean[name] = _clone(value)
            else:
                self._mean[name].lerp_(value, share)

    @contextlib.contextmanager
    def installed(self, batches: Callable[[], Iterable[Any]]) -> Iterator[None]:
        """Inside, the model has the averaged weights, once there are any; `batches` gives inputs of the model."""
        if not self._mean:
            yield
            return
        own = _copy(self._model)
        self._model.load_state_dict(self._mean)
        try:
            if self._kind == "swa":
                measure_batch_norms(self._model, batches)
                self._mean = _copy(self._model)
            yield
        finally:
            self._model.load_state_dict(own)

    def save(self, folder: Path) -> None:
        """Write the mean, if there is one, beside a checkpoint's weights."""
        if self._mean:
            save_file(self._mean, folder / FILE_NAME)

    def load(self, folder: Path) -> None:
        """Go on from the mean in a checkpoint's folder."""
        self._mean = load_file(folder / FILE_NAME) if (folder / FILE_NAME).is_file() else {}

    def install(self) -> None:
        """Give the model the averaged weights, once there are any, for good."""
        if self._mean:
            self._model.load_state_dict(self._mean)

    def _share(self, step: int) -> float:
        """What the newest weights count in the mean."""
        if self._kind == "ema":
            return max(1 - _EMA_DECAY, 9 / (8 + step))
        return 1 / step if step > 0 else 0.0


@torch.no_grad()
def measure_batch_norms(model: nn.Module, batches: Callable[[], Iterable[Any]]) -> None:
    """Replace the running statistics of trained batch norms by the means over `batches`."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and any(p.requires_grad for p in m.parameters())]
    if not norms:
        return
    was_training = model.training
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch then takes the plain mean
        norm.train()
    for features in batches():
        model(**features)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(was_training)


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: _clone(value) for name, value in model.state_dict().items()}


def _clone(value: Tensor) -> Tensor:
    """As it will be after a kill: files hold nothing but contiguous tensors, and others round in another order."""
    return value.clone(memory_format=torch.contiguous_format)
