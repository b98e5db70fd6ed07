"""Graphs of a few nodes, each with one of the shapes that are rewritten; the answers of both are ONNX Runtime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

from tenuto.exporting.rewriting import rewrite

RNG = np.random.default_rng(5)


def model(nodes: list[NodeProto], constants: dict[str, np.ndarray], shape: list[Any]) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("waves", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    made.ir_version = 10
    return shape_inference.infer_shapes(made)


def answer(made: ModelProto, waves: np.ndarray, output: str | None = None) -> np.ndarray:
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run([output] if output else None, {"waves": waves})[0]


def assert_same(before: ModelProto, after: ModelProto, shape: tuple[int, ...]) -> None:
    onnx.checker.check_model(after, full_check=True)
    waves = RNG.standard_normal(shape).astype(np.float32)
    expected = answer(before, waves)
    found = answer(after, waves)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def ops(made: ModelProto) -> list[str]:
    return [node.op_type for node in made.graph.node]


def weights(made: ModelProto) -> dict[str, tuple[int, ...]]:
    return {tensor.name: tuple(tensor.dims) for tensor in made.graph.initializer}


def spectrum(first: int, end: int) -> ModelProto:
    """A basis of 16 taps, of which those outside [first, end) are zero, over waves that are scaled first."""
    basis = np.zeros((6, 1, 16), np.float32)
    basis[:, :, first:end] = RNG.standard_normal((6, 1, end - first))
    nodes = [
        helper.make_node("Mul", ["waves", "scale"], ["scaled"]),
        helper.make_node("Unsqueeze", ["scaled", "one"], ["channel"]),
        helper.make_node("Conv", ["channel", "basis"], ["spectra"], strides=[4]),
        helper.make_node("Abs", ["spectra"], ["out"]),
    ]
    constants = {"scale": np.float32(3), "one": np.array([1]), "basis": basis}
    return model(nodes, constants, ["clips", "samples"])


@pytest.mark.parametrize(("first", "end"), [(3, 14), (0, 13), (2, 16)])
def test_a_fourier_basis_loses_the_zeros_around_its_window_and_no_frame(first: int, end: int) -> None:
    before = spectrum(first, end)
    after = rewrite(before)
    assert (6, 1, 1, end - first) in weights(after).values()
    for samples in (16, 19, 20, 61):
        assert_same(before, after, (2, samples))


def test_a_gain_before_a_convolution_goes_into_its_weights() -> None:
    before = spectrum(0, 16)
    after = rewrite(before)
    assert ops(after) == ["Unsqueeze", "Conv", "Abs"]
    assert_same(before, after, (3, 40))


def image(activations: list[NodeProto], last: str, constants: dict[str, np.ndarray] | None = None) -> ModelProto:
    """(clips, 1, time, 8) through a 3x3 convolution, what is given, and one of 3x1 that gives two channels."""
    weights = {
        "first": RNG.standard_normal((4, 1, 3, 3)).astype(np.float32),
        "bias": RNG.standard_normal(4).astype(np.float32),
        "second": RNG.standard_normal((2, 4, 3, 1)).astype(np.float32),
        "floor": np.float32(-1),
    }
    nodes = [
        helper.make_node("Conv", ["waves", "first", "bias"], ["hidden"], pads=[0, 1, 0, 1]),
        *activations,
        helper.make_node("Conv", [last, "second"], ["second_out"], strides=[2, 1]),
        helper.make_node("Abs", ["second_out"], ["out"]),
    ]
    return model(nodes, weights | (constants or {}), ["clips", 1, "time", 8])


def leaky(source: str) -> list[NodeProto]:
    return [
        helper.make_node("Clip", [source, "floor"], ["clipped"]),
        helper.make_node("LeakyRelu", ["clipped"], ["active"], alpha=0.2),
    ]


def test_bands_come_before_time_in_convolutions_and_pools_and_the_answer_is_as_it_was() -> None:
    pool = helper.make_node("MaxPool", ["hidden"], ["pooled"], kernel_shape=[3, 2], strides=[3, 2], pads=[1, 0, 0, 1])
    before = image([pool, helper.make_node("Relu", ["pooled"], ["active"])], "active")
    after = rewrite(before)
    assert ops(after).count("Transpose") == 2
    assert ops(after)[0] == "Transpose"
    assert (2, 4, 1, 3) in weights(after).values()
    assert_same(before, after, (2, 1, 31, 8))


def test_an_image_whose_last_axis_is_time_already_stays() -> None:
    before = image([helper.make_node("Relu", ["hidden"], ["active"])], "active")
    before.graph.input[0].type.tensor_type.shape.CopyFrom(
        helper.make_tensor_value_info("waves", TensorProto.FLOAT, ["clips", 1, 8, "time"]).type.tensor_type.shape
    )
    del before.graph.value_info[:]
    before = shape_inference.infer_shapes(before)
    assert ops(rewrite(before)) == ops(before)


@pytest.mark.parametrize("pooled", [False, True])
def test_an_activation_in_two_parts_is_taken_in_by_two_convolutions(pooled: bool) -> None:
    pool = [helper.make_node("MaxPool", ["hidden"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2])]
    before = image([*(pool if pooled else []), *leaky("pooled" if pooled else "hidden")], "active")
    after = rewrite(before)
    assert "Clip" not in ops(after)
    assert ops(after).count("Conv") == 3
    identity = next(node for node in after.graph.node if any(a.name == "group" and a.i == 4 for a in node.attribute))
    assert identity.op_type == "Conv"
    assert_same(before, after, (2, 1, 30, 8))


def test_an_activation_whose_input_is_used_elsewhere_too_stays() -> None:
    add = helper.make_node("Add", ["active", "hidden"], ["both"])
    before = image([*leaky("hidden"), add], "both")
    after = rewrite(before)
    assert "Clip" in ops(after)
    assert_same(before, after, (1, 1, 12, 8))


def test_the_graph_that_was_given_is_not_changed() -> None:
    before = spectrum(3, 14)
    bytes_before = before.SerializeToString()
    rewrite(before)
    assert before.SerializeToString() == bytes_before


def test_the_default_backbone_answers_the_same_with_every_activation_inside_a_convolution(
    default_graph: ModelProto,
) -> None:
    after = rewrite(default_graph)
    assert ops(after).count("Conv") == 1 + 20 + 19
    assert ops(after).count("Transpose") == 2 + 2
    for clips, samples in ((1, 20480), (3, 24355)):
        waves = 0.1 * RNG.standard_normal((clips, samples)).astype(np.float32)
        np.testing.assert_allclose(answer(after, waves), answer(default_graph, waves), atol=1e-4)
