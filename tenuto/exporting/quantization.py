"""Graphs whose weights are 8-bit integers: smaller, and faster where the CPU multiplies such numbers.

Both functions take the graph as it was exported, before `tenuto.exporting.rewriting`, and say whether there was
anything to quantize. What comes before a logarithm stays as it is: a spectrum's 80 dB do not fit into 8 bits. Whether
a quantized graph may serve is for `tenuto.exporting.parity` to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
import onnx_ir as ir

from tenuto.exporting import rewriting
from tenuto.serving.hearing.bundle import HEARD_ALONE

if TYPE_CHECKING:
    from onnx import ModelProto

Feed = Mapping[str, npt.NDArray[Any]]

_FEWEST_CHANNELS = 4
"""Of less a convolution makes so few products of each number that quantizing it costs more than they do."""


def dynamic(source: Path, target: Path) -> bool:
    """Write the graph with its matrix products in 8 bits, activations scaled at each call; for transformers.

    The scale is that of the loudest clip of the call, so the graph asks to be given one at a time.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    written = ir.load(source)
    products = [node for node in _after_logarithms(written.graph, "MatMul") if _is_constant(node.inputs[1])]
    if not products:
        return False
    written.metadata_props[HEARD_ALONE] = "true"
    quantize_dynamic(
        _ready(written),
        target,
        op_types_to_quantize=["MatMul"],
        nodes_to_quantize=_names(products),
        per_channel=True,
        weight_type=QuantType.QInt8,
        extra_options={"MatMulConstBOnly": True},
    )
    return True


def static(source: Path, target: Path, feeds: Iterable[Feed]) -> bool:
    """Write the graph with its convolutions of images in 8 bits, and what lies between them; for CNNs.

    `feeds` are inputs of the graph, a few dozen clips like those that it will hear: the range of each activation is
    what they come to. Weights take 7 of the 8 bits, since CPUs without VNNI instructions would overflow silently.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self, feeds: Iterable[Feed]) -> None:
            self._feeds: Iterator[Feed] = iter(feeds)

        def get_next(self) -> Any:
            return next(self._feeds, None)

    written = ir.load(source)
    for prepare in (rewriting.fold_gains, rewriting.crop_bases, rewriting.put_time_last, clip_before_pools):
        rewriting.apply(prepare, written)
    convolutions = [node for node in _after_logarithms(written.graph, "Conv") if _is_worth_it(node)]
    if not convolutions:
        return False
    between = [
        node for kind in ("MaxPool", "Clip", "LeakyRelu", "Relu") for node in _after_logarithms(written.graph, kind)
    ]
    quantize_static(
        _ready(written),
        target,
        Reader(feeds),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "MaxPool", "Clip", "LeakyRelu", "Relu"],
        nodes_to_quantize=_names([*convolutions, *between]),
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
    )
    return True


def clip_before_pools(graph: ir.Graph) -> None:
    """A maximum over places, then a bound, become a bound, then the maximum: the bound is then one of quantization."""
    for clip in [node for node in graph if node.op_type == "Clip"]:
        image = clip.inputs[0]
        pool = image.producer() if image is not None else None
        if image is None or pool is None or pool.op_type != "MaxPool" or len(image.uses()) > 1:
            continue
        clipped = clip.outputs[0]
        ir.convenience.replace_all_uses_with(clipped, image)
        clip.replace_input_with(0, pool.inputs[0])
        pool.replace_input_with(0, clipped)
        clipped.shape = None
        graph.remove(clip)
        pool.prepend(clip)


def _after_logarithms(graph: ir.Graph, op_type: str) -> list[ir.Node]:
    """The nodes of a type that no logarithm depends on."""
    waiting = [node for node in graph if node.op_type == "Log"]
    before: set[ir.Node] = set()
    while waiting:
        node = waiting.pop()
        if node not in before:
            before.add(node)
            waiting.extend(node.predecessors())
    return [node for node in graph if node.op_type == op_type and node not in before]


def _is_constant(value: ir.Value | None) -> bool:
    return value is not None and ir.convenience.get_const_tensor(value) is not None


def _is_worth_it(convolution: ir.Node) -> bool:
    weights = convolution.inputs[1]
    tensor = ir.convenience.get_const_tensor(weights) if weights is not None else None
    return tensor is not None and len(tensor.shape) == 4 and tensor.shape[1] >= _FEWEST_CHANNELS  # type: ignore[operator]


def _names(nodes: Iterable[ir.Node]) -> list[str]:
    return [node.name for node in nodes if node.name]


def _ready(written: ir.Model) -> ModelProto:
    """A model for ONNX Runtime's quantizer, which infers shapes itself and stumbles over those that torch wrote."""
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    for number, node in enumerate(written.graph):
        node.name = node.name or f"node_{number}"
    model = ir.to_proto(written)
    del model.graph.value_info[:]
    add_pre_process_metadata(model)  # else it asks for a preparation that has been made
    return model
