"""The same answers from a graph that ONNX Runtime runs faster on CPUs.

What torch exports is right, and in three places it has a shape that is slow. Each rewriting below looks for one such
shape and leaves alone what does not have it, so that any graph may be given.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

if TYPE_CHECKING:
    from onnx import ModelProto

_SHORT = 128
"""Bands, not time, is an axis of at most so many places that does not depend on the clip."""


def rewrite(model: ModelProto) -> ModelProto:
    """A graph with the same inputs, outputs and, up to rounding, answers; the one given stays as it is."""
    written = ir.from_proto(model)
    for rewriting in (fold_gains, crop_bases, put_time_last, split_activations):
        apply(rewriting, written)
    return ir.to_proto(written)


def apply(rewriting: Callable[[ir.Graph], None], model: ir.Model) -> None:
    """Rewrite a model in place, and remove what that leaves without use."""
    rewriting(model.graph)
    RemoveUnusedNodesPass()(model)


def fold_gains(graph: ir.Graph) -> None:
    """A constant that waves are multiplied by goes into the convolution that hears them."""
    for conv in _of_type(graph, "Conv"):
        channel = _made_by(conv.inputs[0], "Unsqueeze")
        gain = _made_by(channel.inputs[0], "Mul") if channel is not None else None
        weights = _constant(conv.inputs[1])
        if channel is None or gain is None or weights is None or len(gain.outputs[0].uses()) > 1:
            continue
        for wave, factor in (gain.inputs, gain.inputs[::-1]):
            number = _constant(factor)
            if number is not None and number.size == 1 and len(channel.outputs[0].uses()) == 1:
                channel.replace_input_with(0, wave)
                conv.replace_input_with(1, _initializer(graph, weights * number.reshape(())))
                break


def crop_bases(graph: ir.Graph) -> None:
    """Fourier bases lose the zeros on both sides of their window, and their convolution becomes one of images.

    A window of 400 samples in a transform of 512 makes a fifth of the multiplications useless, and ONNX Runtime's fast
    convolutions are those of images, here of one row.
    """
    for conv in _of_type(graph, "Conv"):
        basis = _constant(conv.inputs[1])
        if basis is None or basis.ndim != 3 or basis.shape[1] != 1 or any(_ints(conv, "pads")):
            continue
        used = np.flatnonzero(np.abs(basis).max(axis=(0, 1)))
        taps = basis.shape[2]
        if len(used) in (0, taps) or _ints(conv, "dilations") not in ((), (1,)):
            continue
        first, last = int(used[0]), int(used[-1])
        end = last + 1 - taps or np.iinfo(np.int64).max
        numbers = [_initializer(graph, np.array([number])) for number in (first, end, 2)]
        heard = _before(conv, "Slice", [conv.inputs[0], *numbers])
        image = _before(conv, "Unsqueeze", [heard, numbers[2]])
        weights = _initializer(graph, basis[:, :, None, first : last + 1])
        strides = [1, *(_ints(conv, "strides") or (1,))]
        spectra = _before(conv, "Conv", [image, weights, *conv.inputs[2:]], strides=strides)
        _replace(graph, conv, "Squeeze", [spectra, numbers[2]])


def put_time_last(graph: ir.Graph) -> None:
    """Images (clips, channels, time, bands) become (clips, channels, bands, time) for convolutions and pools.

    These work on several places of the last axis at a time, which a handful of bands do not fill.
    """
    turned: dict[ir.Value, ir.Value] = {}
    for node in list(graph):
        is_filter = node.op_type in {"Conv", "MaxPool"} and _is_time_by_bands(node.inputs[0])
        if node.outputs[0].is_graph_output() or (node.op_type == "Conv" and _constant(node.inputs[1]) is None):
            continue
        if not is_filter and not (node.op_type in {"Clip", "LeakyRelu", "Relu"} and node.inputs[0] in turned):
            continue
        image = node.inputs[0]
        assert image is not None
        node.replace_input_with(0, turned.get(image) or _before(node, "Transpose", [image], perm=[0, 1, 3, 2]))
        _turn(graph, node)
        turned[_after(node, "Transpose", perm=[0, 1, 3, 2])] = node.outputs[0]


def split_activations(graph: ir.Graph) -> None:
    """Of max(x, c) and a leaky ReLU after a convolution, the maximum becomes a ReLU, the rest a convolution's as well.

    ONNX Runtime leaves its layout for convolutions where an activation is not part of one; one convolution takes in one
    activation, and a ReLU costs it nothing. So the first gives max(x - c, 0), and a depthwise identity adds c again.
    """
    for conv in _of_type(graph, "Conv"):
        weights = _constant(conv.inputs[1])
        pool = _only_use(conv, "MaxPool")
        clip = _only_use(pool or conv, "Clip")
        floor = _constant(clip.inputs[1]) if clip is not None and len(clip.inputs) == 2 else None
        if weights is None or weights.ndim != 4 or clip is None or floor is None or not _only_use(clip, "LeakyRelu"):
            continue
        channels = len(weights)
        bias = _constant(conv.inputs[2]) if len(conv.inputs) == 3 else np.zeros(channels, np.float32)
        if bias is None:
            continue
        conv.resize_inputs(3)
        conv.replace_input_with(2, _initializer(graph, bias - floor))
        _after(conv, "Relu")
        identity = _initializer(graph, np.ones((channels, 1, 1, 1), np.float32))
        lowered = _initializer(graph, np.full(channels, floor))
        _replace(graph, clip, "Conv", [clip.inputs[0], identity, lowered], group=channels)


def _turn(graph: ir.Graph, node: ir.Node) -> None:
    """Exchange the last two axes of a node's weights and attributes."""
    if node.op_type == "Conv" and (weights := _constant(node.inputs[1])) is not None:
        node.replace_input_with(1, _initializer(graph, np.swapaxes(weights, 2, 3)))
    for name in ("kernel_shape", "strides", "dilations"):
        if ints := _ints(node, name):
            node.attributes[name] = ir.AttrInt64s(name, ints[::-1])
    if pads := _ints(node, "pads"):
        top, left, bottom, right = pads
        node.attributes["pads"] = ir.AttrInt64s("pads", (left, top, right, bottom))


def _is_time_by_bands(image: ir.Value | None) -> bool:
    """Whether of (clips, channels, height, width) the height depends on the clip and the width is small."""
    shape = image.shape if image is not None else None
    if shape is None or len(shape) != 4:
        return False
    return not isinstance(shape[2], int) and isinstance(shape[3], int) and shape[3] <= _SHORT


def _of_type(graph: ir.Graph, op_type: str) -> list[ir.Node]:
    return [node for node in graph if node.op_type == op_type]


def _constant(value: ir.Value | None) -> npt.NDArray[Any] | None:
    found = ir.convenience.get_const_tensor(value) if value is not None else None
    return None if found is None else found.numpy()


def _ints(node: ir.Node, name: str) -> tuple[int, ...]:
    found = node.attributes.get(name)
    return tuple(found.as_ints()) if found is not None else ()


def _made_by(value: ir.Value | None, op_type: str) -> ir.Node | None:
    producer = value.producer() if value is not None else None
    return producer if producer is not None and producer.op_type == op_type else None


def _only_use(node: ir.Node | None, op_type: str) -> ir.Node | None:
    """What takes in the output of `node`, when that is one node of that type and nothing else."""
    if node is None or node.outputs[0].is_graph_output():
        return None
    uses = list(node.outputs[0].uses())
    return uses[0].node if len(uses) == 1 and uses[0].node.op_type == op_type else None


def _initializer(graph: ir.Graph, values: npt.NDArray[Any]) -> ir.Value:
    taken = graph.initializers
    name = next(name for number in itertools.count(len(taken)) if (name := f"rewritten_{number}") not in taken)
    value = ir.val(name, const_value=ir.tensor(np.ascontiguousarray(values), name=name))
    graph.register_initializer(value)
    return value


def _before(node: ir.Node, op_type: str, inputs: list[ir.Value | None], **attributes: Any) -> ir.Value:
    made = ir.node(op_type, inputs, attributes=attributes)
    node.prepend(made)
    return made.outputs[0]


def _after(node: ir.Node, op_type: str, **attributes: Any) -> ir.Value:
    """Put a node between `node` and whatever takes in its output."""
    plain = node.outputs[0]
    users = list(plain.uses())
    made = ir.node(op_type, [plain], attributes=attributes)
    for use in users:
        use.node.replace_input_with(use.idx, made.outputs[0])
    made.outputs[0].shape, plain.shape = plain.shape, None
    made.outputs[0].type = plain.type
    node.append(made)
    return made.outputs[0]


def _replace(graph: ir.Graph, node: ir.Node, op_type: str, inputs: list[ir.Value | None], **attributes: Any) -> None:
    made = ir.node(op_type, inputs, attributes=attributes)
    old, new = node.outputs[0], made.outputs[0]
    ir.convenience.replace_nodes_and_values(graph, node, [node], [made], [old], [new])
