"""The default backbone's graph as torch exports it, made once."""

from __future__ import annotations

import pytest
from onnx import ModelProto

from tenuto.exporting import graph
from tenuto.learning import backbones
from tenuto.learning.preprocessing import Preprocessing


@pytest.fixture(scope="session")
def default_graph() -> ModelProto:
    """With two labels and an untrained head."""
    backbone = backbones.resolve("speech-embedding")
    preprocessing = Preprocessing.of(backbone.feature_extractor, backbone.config, 10.0)
    return graph.export(backbone.pretrained(("high", "low"), seed=0), preprocessing)
