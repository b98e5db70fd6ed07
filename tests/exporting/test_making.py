"""The folder that serves a checkpoint, from a checkpoint and a table of clips."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import ModelProto, numpy_helper

from tenuto.errors import ExportError
from tenuto.exporting import graph, making, quantization
from tenuto.learning import checkpoint
from tenuto.learning.predictor import Predictor
from tenuto.learning.preprocessing import Preprocessing
from tenuto.scoring import latency
from tenuto.serving.hearing import bundle as bundles
from tenuto.serving.hearing.classifier import Classifier
from tests.chirps import SLOPES, write_clips
from tests.exporting.models import noises, predictor

EXPORT = graph.export
"""As it is without the fixture below."""


class Trained(NamedTuple):
    """A checkpoint folder, its run's table of clips, the folder of the clips, and the checkpoint's graph."""

    model: Path
    clips: Path
    data: Path
    graph: ModelProto


@pytest.fixture(scope="module")
def trained(
    default_model: tuple[Any, Preprocessing], default_graph: ModelProto, tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    root = tmp_path_factory.mktemp("trained")
    facts = {"backbone": "speech-embedding", "backbone_revision": "1", "labels": tuple(SLOPES)}
    checkpoint.write(*default_model, root / "model", **facts, trainable_parameters=1, seconds=0.0)
    write_clips(root / "data", dict.fromkeys(SLOPES, 24)).to_parquet(root / "clips.parquet")
    return Trained(root / "model", root / "clips.parquet", root / "data", default_graph)


@pytest.fixture(autouse=True)
def exported_once(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The graph is made once for all tests here."""
    monkeypatch.setattr(graph, "export", lambda model, preprocessing: _copied(trained.graph))
    yield


def _copied(model: ModelProto) -> ModelProto:
    copied = ModelProto()
    copied.CopyFrom(model)
    return copied


def _made(trained: Trained, folder: Path) -> bundles.Bundle:
    return making.export(trained.model, trained.clips, trained.data, folder)


def test_a_bundle_answers_as_its_checkpoint_does_and_holds_what_a_server_needs(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_turns, timed = latency.in_turns, []
    monkeypatch.setattr(latency, "in_turns", lambda models: timed.append(list(models)) or in_turns(models))
    bundle = _made(trained, tmp_path / "bundle")
    assert timed == [["fp32", "int8-static"]]
    assert bundles.read(tmp_path / "bundle") == bundle
    fp32 = bundle.artefact("fp32")
    assert fp32.parity is not None
    assert (fp32.parity.clips, fp32.parity.agreement, fp32.parity.macro_f1_change) == (12, 1, 0)
    assert [artefact.name for artefact in bundle.published] == ["fp32", "int8-static"]
    assert bundle.artefact("int8-static").size_mb < fp32.size_mb / 2
    for artefact in bundle.published:
        assert artefact.size_mb == (tmp_path / "bundle" / artefact.file).stat().st_size / 1e6
        assert artefact.figures["clips"] == 12
    assert bundle.artefact().figures["p50_ms"] == min(each.figures["p50_ms"] for each in bundle.published)
    files = {path.name for path in (tmp_path / "bundle").iterdir()}
    graphs = {artefact.file for artefact in bundle.published}
    assert files == {*graphs, "serving.json", "novelty.npz", "reference.parquet"}
    assert len(pd.read_parquet(tmp_path / "bundle" / "reference.parquet")) == 60
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]

    classifier, original = Classifier.load(tmp_path / "bundle", "fp32"), Predictor.load(trained.model)
    waves = noises(classifier.sample_rate_hz, (0.01, 0.5, 0.6, 1.1, 4.0, 12.0))
    np.testing.assert_allclose(classifier.predict(waves), original.predict(waves), atol=1e-4)


def test_a_finished_bundle_is_taken_and_one_of_another_checkpoint_is_not(trained: Trained, tmp_path: Path) -> None:
    bundle = _made(trained, tmp_path / "bundle")
    before = (tmp_path / "bundle" / "model.onnx").stat().st_mtime_ns
    assert _made(trained, tmp_path / "bundle") == bundle
    assert (tmp_path / "bundle" / "model.onnx").stat().st_mtime_ns == before
    bundles.write(bundle.model_copy(update={"checkpoint": "other"}), tmp_path / "bundle")
    with pytest.raises(ExportError, match="holds what was exported from another checkpoint"):
        _made(trained, tmp_path / "bundle")


def test_an_artefact_that_answers_otherwise_is_not_published_and_says_why(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def upside_down(source: Path, target: Path, *feeds: Any) -> bool:
        onnx.save(_negated(onnx.load(str(source))), str(target))
        return True

    def broken(source: Path, target: Path) -> bool:
        raise ValueError("no such type")

    monkeypatch.setattr(quantization, "static", upside_down)
    monkeypatch.setattr(quantization, "dynamic", broken)
    bundle = _made(trained, tmp_path / "bundle")
    fp32, dynamic, static = bundle.artefacts
    assert fp32.is_published and bundle.best == "fp32"
    assert dynamic.reason == "it cannot be made: no such type"
    assert not static.is_published and static.parity is not None and static.parity.agreement < 0.995
    assert "test clips the checkpoint's label, at least 99.5% wanted" in static.reason
    assert not (tmp_path / "bundle" / static.file).exists()


def test_without_test_clips_floats_alone_are_published(trained: Trained, tmp_path: Path) -> None:
    clips = pd.read_parquet(trained.clips)
    clips[clips["split"] == "train"].to_parquet(tmp_path / "clips.parquet")
    bundle = making.export(trained.model, tmp_path / "clips.parquet", trained.data, tmp_path / "bundle")
    assert [artefact.name for artefact in bundle.published] == ["fp32"]
    assert bundle.artefact("fp32").figures == {}
    [refused] = [artefact for artefact in bundle.artefacts if not artefact.is_published]
    assert (refused.name, refused.reason) == ("int8-static", "there are no test clips to hold it against")


def test_a_checkpoint_whose_graph_answers_otherwise_has_no_bundle(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph, "export", lambda model, preprocessing: _negated(_copied(trained.graph)))
    with pytest.raises(ExportError, match=r"No graph answers as the checkpoint does: fp32: it gives .* test clips"):
        _made(trained, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("family", ["wav2vec2", "ast"])
def test_a_transformer_s_matrix_products_in_integers_answer_nearly_the_same_and_are_published(
    family: str, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph, "export", EXPORT)
    model = predictor(family, tmp_path / "tiny")
    facts = {"backbone": "tiny", "backbone_revision": "1", "labels": tuple(SLOPES)}
    checkpoint.write(model.model, model.preprocessing, tmp_path / "model", **facts, trainable_parameters=1, seconds=0.0)
    bundle = making.export(tmp_path / "model", trained.clips, trained.data, tmp_path / "bundle")
    assert [artefact.name for artefact in bundle.artefacts] == ["fp32", "int8-dynamic"]  # no images are convolved
    assert [artefact.reason for artefact in bundle.artefacts] == ["", ""]
    fp32, dynamic = bundle.published
    assert fp32.parity is not None and dynamic.parity is not None
    assert fp32.parity.largest_difference < 1e-5 < dynamic.parity.largest_difference < 0.01
    made = onnx.load(str(tmp_path / "bundle" / dynamic.file))
    assert sum(node.op_type == "MatMulInteger" for node in made.graph.node) >= 12  # six products in each of two layers


def _negated(model: ModelProto) -> ModelProto:
    """A model whose last layer has the opposite weights, so that it is surest of what is least likely."""
    for tensor in model.graph.initializer:
        if tensor.name.endswith("classifier.weight"):
            tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name))
    return model
