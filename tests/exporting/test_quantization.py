"""Integer graphs of the default backbone and of small ones; the answers are ONNX Runtime's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tenuto.exporting import quantization
from tenuto.serving.hearing.classifier import Classifier
from tests.bundles import write_tones
from tests.exporting.test_rewriting import answer, assert_same, image, ops

RNG = np.random.default_rng(3)


def feeds(clips: int, *shape: int) -> Iterator[dict[str, np.ndarray]]:
    for _ in range(clips):
        yield {"waves": (0.1 * RNG.standard_normal(shape)).astype(np.float32)}


@pytest.fixture(scope="module")
def exported(default_graph: ModelProto, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "exported.onnx"
    onnx.save(default_graph, str(path))
    return path


def test_the_default_backbone_in_integers_is_half_as_large_and_answers_nearly_the_same(
    exported: Path, default_graph: ModelProto, tmp_path: Path
) -> None:
    target = tmp_path / "static.onnx"
    assert quantization.static(exported, target, feeds(16, 1, 20480))
    assert target.stat().st_size < 0.55 * exported.stat().st_size
    quantized = onnx.load(str(target))
    waves = (0.1 * RNG.standard_normal((8, 20480))).astype(np.float32)
    expected = answer(default_graph, waves, "embeddings")
    found = answer(quantized, waves, "embeddings")
    cosine = (expected * found).sum(axis=1) / np.linalg.norm(expected, axis=1) / np.linalg.norm(found, axis=1)
    assert cosine.min() > 0.99


def test_the_spectrum_and_a_first_convolution_of_one_channel_stay_in_floats(exported: Path, tmp_path: Path) -> None:
    quantization.static(exported, tmp_path / "static.onnx", feeds(2, 1, 20480))
    made = onnx.load(str(tmp_path / "static.onnx"))
    floats = {tensor.name: tensor.dims for tensor in made.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    assert sorted(list(dims) for dims in floats.values() if len(dims) == 4) == [[24, 1, 3, 3], [240, 1, 1, 399]]


def test_weights_take_seven_bits(exported: Path, tmp_path: Path) -> None:
    quantization.static(exported, tmp_path / "static.onnx", feeds(2, 1, 20480))
    tensors = onnx.load(str(tmp_path / "static.onnx")).graph.initializer
    weights = [numpy_helper.to_array(tensor) for tensor in tensors if tensor.data_type == TensorProto.INT8]
    largest = [int(np.abs(values.astype(int)).max()) for values in weights if values.ndim == 4]
    assert len(largest) == 19
    assert set(largest) <= {63, 64}


def test_a_network_without_convolutions_of_images_has_no_static_integers(tmp_path: Path) -> None:
    onnx.save(product(), str(tmp_path / "product.onnx"))
    assert not quantization.static(tmp_path / "product.onnx", tmp_path / "static.onnx", feeds(1, 2, 16))
    assert not (tmp_path / "static.onnx").exists()


def test_the_default_backbone_has_no_matrix_product_to_quantize_after_its_spectrum(
    exported: Path, tmp_path: Path
) -> None:
    assert not quantization.dynamic(exported, tmp_path / "dynamic.onnx")


def test_a_matrix_product_takes_a_quarter_of_the_space_unless_a_logarithm_follows(tmp_path: Path) -> None:
    onnx.save(product(), str(tmp_path / "product.onnx"))
    assert quantization.dynamic(tmp_path / "product.onnx", tmp_path / "dynamic.onnx")
    made = onnx.load(str(tmp_path / "dynamic.onnx"))
    kinds = {tuple(tensor.dims): tensor.data_type for tensor in made.graph.initializer if len(tensor.dims) == 2}
    assert kinds == {(16, 24): TensorProto.FLOAT, (24, 8): TensorProto.INT8}
    waves = RNG.uniform(0.1, 1, (3, 16)).astype(np.float32)
    np.testing.assert_allclose(answer(made, waves), answer(product(), waves), atol=0.1)


def test_a_loud_clip_in_the_same_call_changes_no_other_answer(tmp_path: Path) -> None:
    write_tones(tmp_path)
    weights = RNG.standard_normal((2000, 2)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["waves", "weights"], ["logits"]),
        helper.make_node("Identity", ["logits"], ["embeddings"]),
    ]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["clips", 2]) for name in ("logits", "embeddings")
    ]
    waves = helper.make_tensor_value_info("waves", TensorProto.FLOAT, ["clips", 2000])
    graph = helper.make_graph(nodes, "product", [waves], outputs, [numpy_helper.from_array(weights, "weights")])
    product = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(product, str(tmp_path / "product.onnx"))
    assert quantization.dynamic(tmp_path / "product.onnx", tmp_path / "model.onnx")
    soft, loud = (scale * RNG.standard_normal(2000).astype(np.float32) for scale in (0.01, 0.5))
    together = Classifier.load(tmp_path).hear([soft, loud]).embeddings[0]
    np.testing.assert_allclose(together, soft @ weights, atol=0.03)


def test_a_bound_goes_before_the_pool_and_the_answer_is_as_it_was() -> None:
    import onnx_ir as ir

    pool = helper.make_node("MaxPool", ["hidden"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2])
    clip = helper.make_node("Clip", ["pooled", "floor"], ["active"])
    before = image([pool, clip], "active")
    written = ir.from_proto(before)
    quantization.clip_before_pools(written.graph)
    after = ir.to_proto(written)
    assert ops(after) == ["Conv", "Clip", "MaxPool", "Conv", "Abs"]
    assert_same(before, after, (2, 1, 20, 8))


def product() -> ModelProto:
    """Two matrix products, a logarithm between them."""
    first = WEIGHTS["first"]
    second = WEIGHTS["second"]
    nodes = [
        helper.make_node("MatMul", ["waves", "first"], ["power"]),
        helper.make_node("Log", ["power"], ["levels"]),
        helper.make_node("MatMul", ["levels", "second"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("waves", TensorProto.FLOAT, ["clips", 16])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["clips", 8])],
        [numpy_helper.from_array(first, "first"), numpy_helper.from_array(second, "second")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    made.ir_version = 10
    return made


WEIGHTS = {
    "first": np.random.default_rng(1).uniform(0.1, 1, (16, 24)).astype(np.float32),
    "second": np.random.default_rng(2).uniform(-0.2, 0.2, (24, 8)).astype(np.float32),
}
