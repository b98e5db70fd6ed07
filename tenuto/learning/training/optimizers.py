"""Optimizers, learning-rate schedules and the learning rate of every layer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR
from torch.optim.optimizer import Optimizer
from transformers import get_constant_schedule_with_warmup, get_cosine_schedule_with_warmup
from transformers.optimization import Adafactor

from tenuto.settings import FinetuneSettings

Group = dict[str, Any]

RATE_FACTORS = {"adamw": 1.0, "sgd": 20.0, "adafactor": 1.0, "lion": 0.2}
"""What the learning rate that suits AdamW is multiplied by where none is set."""


class Lion(Optimizer):
    """Every weight moves by the learning rate, in the direction that a mean of its gradients points to.

    Chen et al., "Symbolic discovery of optimization algorithms", 2023, algorithm 2. Wants a learning rate 3 to 10 times
    lower than AdamW's.
    """

    def __init__(
        self,
        params: Sequence[Group],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Move the weights that have a gradient; `closure` is not used."""
        for group in self.param_groups:
            now, later = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state: dict[str, Tensor] = self.state[parameter]
                if not state:
                    state["mean"] = torch.zeros_like(parameter)
                direction = state["mean"].lerp(parameter.grad, 1 - now).sign_()
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(direction, alpha=-group["lr"])
                state["mean"].lerp_(parameter.grad, 1 - later)


def groups(
    model: nn.Module,
    stack: Sequence[Sequence[nn.Parameter]],
    settings: FinetuneSettings,
    learning_rate: float,
    decayed: Collection[str],
) -> list[Group]:
    """The trained parameters by learning rate and by whether they decay, as torch's optimizers want them.

    `stack` are the parameters from bottom to top: below the layers, each layer, the head. The top layer has
    `learning_rate`, the head `head_learning_rate`. `decayed` are the names of parameters that weight decay pulls at.
    """
    rates = {
        parameter: rate
        for level, rate in zip(stack, _rates(len(stack), settings, learning_rate), strict=True)
        for parameter in level
    }
    found: dict[tuple[float, float], Group] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rate, decay = rates[parameter], settings.weight_decay if name in decayed else 0.0
            group = found.setdefault((rate, decay), {"params": [], "lr": rate, "weight_decay": decay})
            group["params"].append(parameter)
    return list(found.values())


def optimizer(name: str, groups: Sequence[Group], learning_rate: float) -> Optimizer:
    """The optimizer called `name` in params.yaml."""
    if name == "sgd":
        return torch.optim.SGD(groups, lr=learning_rate, momentum=0.9)
    if name == "adafactor":  # Shazeer and Stern 2018, with the learning rate that is asked for instead of its own
        return Adafactor(groups, lr=learning_rate, scale_parameter=False, relative_step=False)
    if name == "lion":
        return Lion(groups, lr=learning_rate)
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True)


def schedule(name: str, optimizer: Optimizer, *, warmup_steps: int, steps: int) -> LRScheduler:
    """The course of the learning rates over `steps`: up to those of the groups, then as `name` says.

    "one-cycle" is Smith and Topin, "Super-convergence", 2018, as torch has it: momentum, where there is one, falls as
    the learning rates rise.
    """
    if name == "cosine":
        return get_cosine_schedule_with_warmup(optimizer, warmup_steps, steps)
    if name == "constant":
        return get_constant_schedule_with_warmup(optimizer, warmup_steps)
    warmup_steps = min(warmup_steps, steps - 1)  # torch wants a step to fall in
    return OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=steps,
        pct_start=warmup_steps / steps if warmup_steps > 1 else 0.0,  # torch divides by zero where a single step rises
        cycle_momentum=not optimizer.defaults.keys().isdisjoint({"momentum", "betas"}),
    )


def _rates(levels: int, settings: FinetuneSettings, learning_rate: float) -> list[float]:
    below = [learning_rate * settings.layer_decay**depth for depth in reversed(range(levels - 1))]
    return [*below, settings.head_learning_rate or learning_rate]
