"""Exported graphs of every family, run by ONNX Runtime, held against the models in torch."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from tenuto.errors import ExportError
from tenuto.exporting import graph, rewriting
from tenuto.exporting.parity import edge_cases
from tenuto.learning.backbones import pooled
from tenuto.learning.predictor import Predictor
from tenuto.serving.hearing.classifier import Classifier, session
from tests.exporting.models import draft, noises, predictor

SECONDS = (0.001, 0.3, 0.5, 0.52, 0.7, 0.96, 1.0, 1.3, 1.9, 2.5, 4.0, 9.0, 11.0, 0.53)

SLOW = [
    ("wav2vec2", {}),
    ("wav2vec2-stable", {}),
    ("hubert", {}),
    ("wavlm", {}),
    ("ast", {}),
    ("log-mel-cnn", {}),
    ("speech-embedding", {"window_seconds": 2.0, "kind": "many"}),
    ("speech-embedding", {"truncate": 10, "pool": "gru"}),
    ("log-mel-crnn", {"window_seconds": 1.0, "pool": "max"}),
    ("clap", {"pool": "mean"}),
    ("clap", {"pool": "attention", "window_seconds": 0.5}),
    ("ast", {"pool": "max", "window_seconds": 0.7}),
    ("whisper", {"pool": "own", "window_seconds": 1.0}),
    ("wav2vec2", {"pool": "lstm", "window_seconds": 1.0}),
    ("wav2vec2-stable", {"pool": "gru"}),
    ("wav2vec2-stable", {"pool": "lstm", "window_seconds": 1.0, "kind": "many"}),
    ("wav2vec2-stable", {"pool": "attention", "head": "mlp", "truncate": 1}),
    ("hubert", {"pool": "statistics", "head": "prototype", "adapter_size": 4}),
    ("wavlm", {"head": "mlp", "kind": "many"}),
]


def exported(model: Predictor, folder: Path) -> Classifier:
    """The fp32 artefact of a bundle."""
    proto = rewriting.rewrite(graph.export(model.model, model.preprocessing))
    onnx.save(proto, str(folder / "model.onnx"))
    dims = proto.graph.output[1].type.tensor_type.shape.dim[1].dim_value
    return Classifier(draft(model, dims), session(folder / "model.onnx"))


def answers_agree(model: Predictor, classifier: Classifier) -> None:
    waves = noises(model.sample_rate_hz, SECONDS)
    expected = model.predict(waves)
    assert expected.std(axis=0).max() > 1e-4  # the clips are told apart at all
    np.testing.assert_allclose(classifier.predict(waves), expected, atol=1e-5)
    edges = list(edge_cases(model.preprocessing.framing).values())
    np.testing.assert_allclose(classifier.predict(edges), model.predict(edges), atol=2e-3)


def test_a_graph_with_fixed_windows_answers_as_the_model_does(tmp_path: Path) -> None:
    model = predictor("whisper", tmp_path / "whisper", pool="statistics", window_seconds=0.5)
    classifier = exported(model, tmp_path)
    answers_agree(model, classifier)
    wave = noises(model.sample_rate_hz, (3.3,))
    np.testing.assert_allclose(
        classifier.hear(wave).embeddings, pooled(model.model, model.preprocessing.features(wave)), atol=1e-5
    )


def test_a_recurrent_graph_answers_as_the_model_does_which_stays_as_it_was(tmp_path: Path) -> None:
    model = predictor("log-mel-crnn", tmp_path / "crnn")
    wave = noises(model.sample_rate_hz, (0.8,))
    before = model.predict(wave)
    classifier = exported(model, tmp_path)
    np.testing.assert_array_equal(model.predict(wave), before)
    answers_agree(model, classifier)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "tailoring"), SLOW, ids=str)
def test_every_family_and_tailoring_answers_as_the_model_does(
    family: str, tailoring: dict[str, Any], tmp_path: Path
) -> None:
    model = predictor(family, tmp_path / "model", **tailoring)
    answers_agree(model, exported(model, tmp_path))


def test_inputs_and_outputs_are_those_of_a_bundle(tmp_path: Path) -> None:
    model = predictor("wav2vec2-stable", tmp_path / "model", pool="mean", window_seconds=1.0)
    given = graph.example(model.preprocessing)
    assert {name: tuple(values.shape) for name, values in given.items()} == {
        "waves": (2, 3, 8001),
        "lengths": (2, 3),
    }
    logits, embeddings = graph.Graph(model.model, model.preprocessing)(**given)
    assert logits.shape == (2, 3)
    assert embeddings.shape == (2, 16)


def test_a_model_without_a_graph_is_refused_with_the_cause(tmp_path: Path) -> None:
    model = predictor("log-mel-cnn", tmp_path)

    class Sorting(nn.Module):
        def forward(self, spectrogram: torch.Tensor) -> torch.Tensor:
            return spectrogram if spectrogram.sum() > 0 else -spectrogram

    model.model.blocks.insert(0, Sorting())
    with pytest.raises(ExportError, match=r"no graph can be made of LogMelForAudioClassification: .*data-dependent"):
        graph.export(model.model, model.preprocessing)


@pytest.mark.parametrize(
    ("tailoring", "most"),
    [
        ({}, 32),
        ({"pool": "max"}, 39),
        pytest.param({"pool": "mean"}, 32, marks=pytest.mark.slow),
        pytest.param({"head": "mlp"}, 39, marks=pytest.mark.slow),
    ],
)
def test_a_long_clip_is_heard_a_few_windows_at_a_time_where_that_gives_the_same_answer(
    tailoring: dict[str, Any], most: int, tmp_path: Path
) -> None:
    model = predictor("wav2vec2", tmp_path / "tiny", window_seconds=0.5, **tailoring)
    classifier = exported(model, tmp_path)
    run, heard = classifier._session.run, []

    def recorded(names: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        heard.append(inputs["waves"].shape[1])
        return run(names, inputs)

    classifier._session = SimpleNamespace(run=recorded)
    waves = noises(model.sample_rate_hz, (0.7, 9.9))  # windows of half a second, begun each quarter
    np.testing.assert_allclose(classifier.predict(waves), model.predict(waves), atol=1e-5)
    assert max(heard) == most and sum(heard) == 2 + 39
