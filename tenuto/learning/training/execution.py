"""How the arithmetic of a training is carried out: compiled, deterministic, with less memory; not what is computed."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import torch
from transformers import PreTrainedModel

logger = logging.getLogger(__name__)


class Compiled:
    """A model's forward pass, compiled at the first call; falls back to the model itself, with one warning."""

    def __init__(self, model: Any) -> None:
        from torch._dynamo.exc import TorchDynamoException  # takes a second to import

        self._failure = TorchDynamoException
        self._model = model
        self._forward: Any = torch.compile(model)

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """What the model gives."""
        try:
            return self._forward(*inputs, **named)
        except self._failure as error:
            if self._forward is self._model:
                raise
            logger.warning(
                "finetune.compile: torch.compile does not work here, going on without it. %s",
                str(error).strip().partition("\n")[0],
            )
            self._forward = self._model
            return self._forward(*inputs, **named)


@contextlib.contextmanager
def deterministic(is_wanted: bool) -> Iterator[None]:
    """Inside, torch gives the same bits on every run; on GPUs it warns of what it cannot."""
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    was = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    if is_wanted:
        torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
        memory.fill_uninitialized_memory = False  # costs time, and nothing reads such memory
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was[0], warn_only=was[1])
        memory.fill_uninitialized_memory = filled


def checkpointed(model: Any) -> PreTrainedModel | None:
    """The outermost part of a model that can do gradient checkpointing, or None."""
    parts = (part for part in model.modules() if isinstance(part, PreTrainedModel))
    return next((part for part in parts if part.supports_gradient_checkpointing), None)


@contextlib.contextmanager
def checkpointing(model: Any, is_wanted: bool) -> Iterator[None]:
    """Inside, layers keep only what they were given, and compute the rest again for the gradient (Chen et al. 2016)."""
    part = checkpointed(model) if is_wanted else None
    if part is not None:
        part.activation_checkpointing_enable({"use_reentrant": False})
    try:
        yield
    finally:
        if part is not None:
            part.activation_checkpointing_disable()
