"""The folder that serves a checkpoint, from a checkpoint and a table of clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tenuto.exporting import making
from tenuto.learning import backbones, checkpoint
from tenuto.learning.predictor import Predictor
from tenuto.learning.preprocessing import Preprocessing
from tenuto.serving import bundle as bundles
from tenuto.serving.classifier import Classifier
from tests.chirps import SLOPES, write_clips


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A checkpoint of the default backbone, a table of clips, and the folder of the clips."""
    root = tmp_path_factory.mktemp("made")
    backbone = backbones.resolve("speech-embedding")
    preprocessing = Preprocessing.of(backbone.feature_extractor, backbone.config, 10.0)
    model = backbone.pretrained(tuple(SLOPES), seed=0)
    facts = {"backbone": backbone.name, "backbone_revision": "1", "labels": tuple(SLOPES)}
    checkpoint.write(model, preprocessing, root / "model", **facts, trainable_parameters=1, seconds=0.0)
    write_clips(root / "data", dict.fromkeys(SLOPES, 12)).to_parquet(root / "clips.parquet")
    return root / "model", root / "clips.parquet", root / "data"


@pytest.fixture(scope="module")
def exported(made: tuple[Path, Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the bundle."""
    folder = tmp_path_factory.mktemp("exported") / "bundle"
    making.export(*made, folder)
    return folder


def test_a_bundle_answers_as_its_checkpoint_does(made: tuple[Path, Path, Path], exported: Path) -> None:
    model, clips, _ = made
    bundle = bundles.read(exported)
    fp32 = bundle.artefact("fp32")
    assert fp32.parity is not None
    assert fp32.parity.clips == (pd.read_parquet(clips)["split"] == "test").sum()
    assert fp32.parity.agreement == 1
    assert fp32.figures["p50_ms"] > 0
    rng = np.random.default_rng(0)
    waves = [rng.uniform(-0.3, 0.3, n).astype(np.float32) for n in (10, 16000, 20480, 20481, 70000, 200000)]
    np.testing.assert_allclose(
        Classifier.load(exported, "fp32").predict(waves), Predictor.load(model).predict(waves), atol=1e-4
    )


def test_the_default_backbone_is_also_there_in_integers_and_nothing_else_is_left_over(exported: Path) -> None:
    bundle = bundles.read(exported)
    assert [artefact.name for artefact in bundle.artefacts] == ["fp32", "int8-static"]
    fp32, integers = bundle.artefacts
    assert integers.parity is not None
    assert integers.size_mb < 0.6 * fp32.size_mb
    assert {path.name for path in exported.glob("*.onnx")} == {artefact.file for artefact in bundle.published}
