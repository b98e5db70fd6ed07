"""Which layers of a model are trained in which epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tenuto.errors import SettingsError

Choice = str | int
"""`finetune.unfreeze`: all, head, gradual, or how many layers from the top."""


class Unfreezing:
    """Frees and freezes the parameters of a model epoch by epoch; what was frozen before stays so.

    `stack` are the parameters from bottom to top: below the layers, each layer, the head. "gradual" frees layers from
    the top, so that all are free in the last third of the epochs (Howard and Ruder, "Universal language model
    fine-tuning for text classification", 2018).
    """

    def __init__(
        self, model: nn.Module, stack: Sequence[Sequence[nn.Parameter]], choice: Choice, *, epochs: int
    ) -> None:
        check(stack, choice)
        self._model = model
        self._levels = [[parameter for parameter in level if parameter.requires_grad] for level in stack]
        self._choice = choice
        self._epochs = epochs
        self._frozen_norms: list[nn.Module] = []

    def begin(self, epoch: int) -> None:
        """Free what is trained in `epoch`, from 0, and freeze the rest."""
        frozen = len(self._levels) - free_levels(self._choice, len(self._levels), epoch, self._epochs)
        for number, level in enumerate(self._levels):
            for parameter in level:
                parameter.requires_grad_(number >= frozen)
        norms = [module for module in self._model.modules() if isinstance(module, _BatchNorm) and module.affine]
        self._frozen_norms = [norm for norm in norms if not any(p.requires_grad for p in norm.parameters())]

    def free_all(self) -> None:
        """Free all that is trained in any epoch: what an optimizer has to know from the start."""
        self.begin(self._epochs - 1)

    def hold_statistics(self) -> None:
        """Keep frozen batch norms from following the batches; to be called after `model.train()`."""
        for norm in self._frozen_norms:
            norm.eval()


def check(stack: Sequence[Sequence[nn.Parameter]], choice: Choice) -> None:
    """Raises SettingsError when more layers are wanted than there are."""
    layers = len(stack) - 2
    if isinstance(choice, int) and choice > layers:
        raise SettingsError(
            f"finetune.unfreeze {choice}: the model has {layers} layers; wanted at most {layers}, all, head or gradual."
        )


def free_levels(choice: Choice, levels: int, epoch: int, epochs: int) -> int:
    """How many of `levels` are trained in `epoch`, from the head downwards."""
    if isinstance(choice, int):
        return choice + 1
    if choice == "gradual":
        last_third = 2 * epochs // 3
        return 1 + min(math.ceil((levels - 1) * (epoch + 1) / (last_third + 1)), levels - 1)
    return 1 if choice == "head" else levels
