"""Bundles whose model is a few nodes long and needs no training: it hears whether a sound is high or low."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tenuto.learning.calibration import Calibration
from tenuto.learning.framing import Framing
from tenuto.serving.hearing import bundle as bundles
from tenuto.serving.hearing.bundle import Artefact, Bundle, Exported, Parity

SAMPLE_RATE_HZ = 8000
FRAMING = Framing(SAMPLE_RATE_HZ, min_seconds=0.25, max_seconds=10.0, pads_itself=False)
LABELS = ("high", "low")


def write_tones(folder: Path, *, bias: float = 0.0) -> Bundle:
    """A bundle in `folder` that tells tones above 1 kHz from those below; `bias` is added to the logit of 'high'.

    Its embeddings are the mean magnitude of the wave and that of its differences: the steeper for its loudness, the
    higher.
    """
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_graph(bias), str(folder / "model.onnx"))
    size_mb = (folder / "model.onnx").stat().st_size / 1e6
    artefact = Artefact(name="fp32", file="model.onnx", size_mb=size_mb, is_published=True)
    made = Bundle(
        checkpoint=f"tones{bias:g}",
        labels=LABELS,
        kind="one",
        framing=FRAMING,
        calibration=Calibration(),
        dims=2,
        artefacts=(artefact,),
        best="fp32",
    )
    bundles.write(made, folder)
    return made


def two_artefacts() -> Exported:
    """A bundle in no folder: fp32 serves, in 2 ms at the median, and int8-static may not."""
    parity = Parity(clips=200, agreement=0.995, macro_f1=0.9, macro_f1_change=-0.002, largest_difference=0.01)
    figures = {"p50_ms": 2.0, "p95_ms": 3.0, "real_time_factor": 0.004, "clips": 30.0, "size_mb": 1.9}
    artefacts = (
        Artefact(name="fp32", file="a", size_mb=1.9, is_published=True, parity=parity, figures=figures),
        Artefact(name="int8-static", file="b", size_mb=0.6, is_published=False, reason="it says otherwise of 3 clips"),
    )
    bundle = Bundle(
        checkpoint="x",
        labels=LABELS,
        kind="one",
        framing=FRAMING,
        calibration=Calibration(),
        dims=2,
        artefacts=artefacts,
        best="fp32",
    )
    return Exported(folder=Path("serving"), bundle=bundle)


def tone(hz: float, seconds: float = 0.5, amplitude: float = 0.3) -> np.ndarray:
    """(n,) float32 at SAMPLE_RATE_HZ."""
    times = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (amplitude * np.sin(2 * np.pi * hz * times)).astype(np.float32)


def _graph(bias: float) -> onnx.ModelProto:
    # of a sine, the mean magnitude of the differences is 2 sin(pi hz / rate) times that of the wave
    at_1_khz = 2 * np.sin(np.pi * 1000 / SAMPLE_RATE_HZ)
    weights = np.array([[-200 * at_1_khz, 200 * at_1_khz], [200.0, -200.0]], np.float32)  # (embedding, class)
    constants = {
        "step": np.array([[[-1.0, 1.0]]], np.float32),
        "weights": weights,
        "bias": np.array([bias, 0.0], np.float32),
        "one": np.array([1], np.int64),
        "last": np.array([-1], np.int64),
        "both": np.array([1, 2], np.int64),
    }
    nodes = [
        helper.make_node("Abs", ["waves"], ["magnitude"]),
        helper.make_node("ReduceMean", ["magnitude", "last"], ["level"], keepdims=1),
        helper.make_node("Unsqueeze", ["waves", "one"], ["channel"]),
        helper.make_node("Conv", ["channel", "step"], ["differences"]),
        helper.make_node("Abs", ["differences"], ["steepness"]),
        helper.make_node("ReduceMean", ["steepness", "both"], ["steep_column"], keepdims=0),
        helper.make_node("Unsqueeze", ["steep_column", "one"], ["steep"]),
        helper.make_node("Concat", ["level", "steep"], ["embeddings"], axis=1),
        helper.make_node("Gemm", ["embeddings", "weights", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tones",
        [helper.make_tensor_value_info("waves", TensorProto.FLOAT, ["clips", "samples"])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["clips", 2]),
            helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["clips", 2]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.checker.check_model(model)
    return model
