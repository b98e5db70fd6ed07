"""The served model answers as the predictor does, from its stored files alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.registry import packaging
from tenuto.learning import backbones, checkpoint
from tenuto.learning.predictor import Predictor
from tenuto.learning.preprocessing import Preprocessing
from tenuto.records import Checkpoint
from tenuto.sound import audio
from tests.chirps import chirp

# MLflow compares the columns of an input example with a range, which pandas 3 deprecates
pytestmark = pytest.mark.filterwarnings("ignore:Operation with range is deprecated")

LABELS = ("down", "höher", "up")

SERVE = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"prefect", "dvc", "great_expectations", "typer", "livekit", "tasks", "flows"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
from pathlib import Path

import mlflow.pyfunc
import pandas as pd

model = mlflow.pyfunc.load_model(sys.argv[1])
import tenuto.learning.predictor

assert Path(tenuto.learning.predictor.__file__).is_relative_to(sys.argv[1]), tenuto.learning.predictor.__file__
print(model.predict(pd.DataFrame({"audio": [Path(sys.argv[2]).read_bytes()]})).to_json(orient="records"))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    backbone = backbones.resolve("speech-embedding")
    return checkpoint.write(
        backbone.pretrained(LABELS, seed=1),
        Preprocessing.of(backbone.feature_extractor, backbone.config, 3.0),
        tmp_path_factory.mktemp("served") / "checkpoint",
        backbone="speech-embedding",
        backbone_revision=backbone.revision,
        labels=LABELS,
        trainable_parameters=1,
        seconds=0.0,
    )


@pytest.fixture(scope="module")
def recordings() -> list[bytes]:
    rng = np.random.default_rng(0)
    return [audio.encode_wav(chirp(name, rng, 0.6), 16_000) for name in ("down", "flat", "up")]


@pytest.fixture(scope="module")
def expected(trained: Checkpoint, recordings: list[bytes]) -> np.ndarray:
    predictor = Predictor.load(trained.path)
    waves = [audio.waveform(audio.decode_bytes(data), predictor.sample_rate_hz) for data in recordings]
    return predictor.predict(waves)


@pytest.fixture(scope="module")
def stored(empty_database: Path, trained: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as MLflow keeps it; `empty_database` has MLflow imported."""
    from mlflow.models import Model

    folder = tmp_path_factory.mktemp("stored") / "model"
    packaging.save_model(folder, trained, Model(artifact_path="model"))
    return folder


def test_answers_hold_the_predictors_probabilities(
    empty_database: Path, trained: Checkpoint, recordings: list[bytes], expected: np.ndarray
) -> None:
    from mlflow.pyfunc.model import PythonModelContext

    from tasks.pyfunc_model import AudioClassifier

    context = PythonModelContext(artifacts={"checkpoint": str(trained.path)}, model_config={})
    model = AudioClassifier()
    model.load_context(context)
    answer: Any = model.predict(context, pd.DataFrame({"audio": recordings}))
    assert list(answer.columns) == ["label", "probability", "p_down", "p_höher", "p_up"]
    np.testing.assert_allclose(answer.filter(like="p_").to_numpy(), expected, atol=1e-6)
    assert answer["label"].tolist() == [LABELS[i] for i in expected.argmax(axis=1)]
    np.testing.assert_allclose(answer["probability"], expected.max(axis=1), atol=1e-6)


def test_the_stored_model_has_signature_example_and_exact_requirements(stored: Path) -> None:
    from mlflow.models import Model

    model = Model.load(str(stored / "MLmodel"))
    assert [(column.name, column.type.name) for column in model.signature.inputs.inputs] == [("audio", "binary")]
    assert model.signature.outputs.input_names() == ["label", "probability", "p_down", "p_höher", "p_up"]
    example = model.load_input_example(str(stored))
    assert audio.decode_bytes(example["audio"][0]).sample_rate_hz == 16_000
    requirements = (stored / "requirements.txt").read_text().split()
    assert {line.partition("==")[0] for line in requirements} == set(packaging._SERVED_WITH)
    assert all("==" in line and "+" not in line for line in requirements)


def test_the_stored_code_is_the_package_without_leftovers(stored: Path) -> None:
    assert (stored / "code" / "tenuto" / "learning" / "predictor.py").is_file()
    assert not list(stored.rglob("__pycache__"))
    assert not (stored / "code" / "tasks").exists()


@pytest.mark.slow
def test_it_serves_without_orchestration_from_its_stored_code(
    stored: Path, recordings: list[bytes], expected: np.ndarray, tmp_path: Path
) -> None:
    clip = tmp_path / "clip.wav"
    clip.write_bytes(recordings[0])
    command = [sys.executable, "-c", SERVE, str(stored), str(clip)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    (answer,) = json.loads(done.stdout)
    np.testing.assert_allclose([answer[f"p_{label}"] for label in LABELS], expected[0], atol=1e-6)


def test_a_model_of_several_labels_answers_with_all_of_them(
    empty_database: Path, recordings: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.models import Model
    from mlflow.pyfunc.model import PythonModelContext

    from tasks.pyfunc_model import AudioClassifier

    backbone = backbones.resolve("speech-embedding")
    trained = checkpoint.write(
        backbone.pretrained(LABELS, seed=1, kind="many"),
        Preprocessing.of(backbone.feature_extractor, backbone.config, 3.0),
        tmp_path / "checkpoint",
        backbone="speech-embedding",
        backbone_revision=backbone.revision,
        labels=LABELS,
        trainable_parameters=1,
        seconds=0.0,
    )
    predictor = Predictor.load(trained.path)
    assert predictor.kind == checkpoint.labels_per_clip(trained.path) == "many"
    model = AudioClassifier()
    model.load_context(PythonModelContext(artifacts={"checkpoint": str(trained.path)}, model_config={}))
    said = np.array([[0.9, 0.2, 0.6], [0.1, 0.4, 0.3], [0.2, 0.5, 0.1]])
    monkeypatch.setattr(Predictor, "predict", lambda self, waves: said)
    answer: Any = model.predict(None, pd.DataFrame({"audio": recordings}))  # type: ignore[arg-type]
    assert list(answer.columns) == ["labels", "p_down", "p_höher", "p_up"]
    assert answer["labels"].tolist() == ["down;up", "", "höher"]
    np.testing.assert_array_equal(answer.filter(like="p_"), said)
    packaging.save_model(tmp_path / "model", trained, Model(artifact_path="model"))
    outputs = Model.load(str(tmp_path / "model" / "MLmodel")).signature.outputs
    assert outputs.input_names() == ["labels", "p_down", "p_höher", "p_up"]
