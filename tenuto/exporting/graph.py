"""A checkpoint as one graph: waves in, logits and embeddings out, with feature extraction inside.

The graph's inputs and outputs are those that `tenuto.serving.hearing.bundle` documents. Clips and samples are dynamic,
and so are windows where the model has them.
"""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tenuto.errors import ExportError
from tenuto.exporting import frontends, recurrent
from tenuto.learning import backbones
from tenuto.learning.backbones.families.base import first_line
from tenuto.learning.preprocessing import Preprocessing
from tenuto.serving.hearing.bundle import WINDOWS_AVERAGED

if TYPE_CHECKING:
    from onnx import ModelProto

_CLIPS, _WINDOWS = 2, 3
"""Of the example that the model is traced with."""


class Graph(nn.Module):
    """A model in evaluation mode behind its feature extraction."""

    def __init__(self, model: Any, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.model = model.eval()
        self.frontend = frontends.of(preprocessing)
        self.has_windows = preprocessing.framing.has_windows
        config = self.model.config
        # of other pools the whole is no mean of its parts, nor is what another head makes of it
        self.averages_windows = self.has_windows and config.pool in ("own", "mean") and config.head == "linear"
        self._head = [backbones.head(model)]  # in a list, since it is the model's child already

    def forward(self, waves: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits (clips, classes) and embeddings (clips, dims) of waves (clips, samples) or (clips, windows, samples).

        With masks `lengths` (clips,) or (clips, windows) says how many samples are clip.
        """
        clips = waves.shape[0]
        if self.has_windows:
            waves = waves.flatten(0, 1)
            lengths = None if lengths is None else lengths.flatten()
        features = self.frontend(waves, lengths)
        if self.has_windows:
            features = {name: values.unflatten(0, (clips, -1)) for name, values in features.items()}
        seen: list[Tensor] = []
        hook = self._head[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        try:
            logits = self.model(**features).logits
        finally:
            hook.remove()
        return logits, seen[0]


def example(preprocessing: Preprocessing) -> dict[str, Tensor]:
    """Inputs of a graph, a few clips of noise."""
    framing = preprocessing.framing
    shape = (_CLIPS, _WINDOWS) if framing.has_windows else (_CLIPS,)
    least, most = _samples(preprocessing)
    samples = least if least == most else least + 1
    inputs = {"waves": 0.1 * torch.randn(*shape, samples, generator=torch.Generator().manual_seed(0))}
    if framing.masks:
        inputs["lengths"] = torch.full(shape, least)
    return inputs


def export(model: Any, preprocessing: Preprocessing) -> ModelProto:
    """The ONNX graph of a model and what goes before it; ExportError with the reason when it has none."""
    graph = Graph(model, preprocessing).eval()
    inputs = example(preprocessing)
    with _quiet(), recurrent.as_nodes(graph):
        try:
            program = torch.onnx.export(
                graph,
                kwargs=inputs,
                dynamo=True,
                input_names=list(inputs),
                output_names=["logits", "embeddings"],
                dynamic_shapes=_dynamic(inputs, preprocessing),
                verbose=False,
            )
        except Exception as error:  # the exporter's errors have no common base but this
            raise ExportError(f"no graph can be made of {type(model).__name__}: {first_line(_root(error))}") from error
    assert program is not None
    proto = program.model_proto  # made anew whenever it is asked for
    _name_samples(proto)
    if graph.averages_windows:
        proto.metadata_props.add(key=WINDOWS_AVERAGED, value="true")
    return proto


def _name_samples(model: ModelProto) -> None:
    """Call the last dimension of the waves 'samples', wherever torch's own name for it is found."""
    given = next(each for each in model.graph.input if each.name == "waves")
    name = given.type.tensor_type.shape.dim[-1].dim_param
    for value in (*model.graph.input, *model.graph.value_info) if name else ():
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = re.sub(rf"\b{name}\b", "samples", dim.dim_param)


def _root(error: BaseException) -> Exception:
    """What the exporter's error was caused by: its own first line says only which of its steps failed."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error if isinstance(error, Exception) else Exception(error)


def _dynamic(inputs: dict[str, Tensor], preprocessing: Preprocessing) -> dict[str, dict[int, Any]]:
    least, most = _samples(preprocessing)
    names = ["clips", "windows"][: inputs["waves"].ndim - 1]
    leading = {axis: torch.export.Dim(name) for axis, name in enumerate(names)}
    samples = {len(names): torch.export.Dim.DYNAMIC(min=least, max=most)} if least != most else {}
    return {name: leading | (samples if name == "waves" else {}) for name in inputs}


def _samples(preprocessing: Preprocessing) -> tuple[int, int | None]:
    """How many samples a call may have: at least, and at most where the model's window is fixed."""
    framing = preprocessing.framing
    return framing.length(0), framing.length(framing.longest) if framing.pads_itself else None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No remarks of the exporter about itself."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
