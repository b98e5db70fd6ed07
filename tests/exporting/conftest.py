"""The default backbone's graph as torch exports it, made once."""

from __future__ import annotations

from typing import Any

import pytest
from onnx import ModelProto

from tenuto.exporting import graph
from tenuto.learning import backbones
from tenuto.learning.preprocessing import Preprocessing
from tests.chirps import SLOPES


@pytest.fixture(scope="session")
def default_model() -> tuple[Any, Preprocessing]:
    """The default backbone with the labels of the chirps and an untrained head, and its preprocessing."""
    backbone = backbones.resolve("speech-embedding")
    preprocessing = Preprocessing.of(backbone.feature_extractor, backbone.config, 10.0)
    return backbone.pretrained(tuple(SLOPES), seed=0), preprocessing


@pytest.fixture(scope="session")
def default_graph(default_model: tuple[Any, Preprocessing]) -> ModelProto:
    return graph.export(*default_model)
