"""The served model answers as the predictor does, from its stored files alone."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from tasks.registry import packaging
from tenuto.learning import backbones, checkpoint
from tenuto.learning.predictor import Predictor
from tenuto.learning.preprocessing import Preprocessing
from tenuto.records import Checkpoint
from tenuto.serving.hearing import novelty
from tenuto.serving.hearing.classifier import Classifier
from tenuto.sound import audio
from tests.bundles import SAMPLE_RATE_HZ, tone, write_tones
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
    inputs = {column.name: (str(column.type), column.required) for column in model.signature.inputs.inputs}
    assert inputs == {
        "audio": ("DataType.binary", False),
        "samples": ("Array(double)", False),
        "sample_rate_hz": ("DataType.double", False),
    }
    assert model.signature.outputs.input_names() == ["label", "probability", "p_down", "p_höher", "p_up"]
    example = model.load_input_example(str(stored))
    assert audio.decode_bytes(example["audio"][0]).sample_rate_hz == 16_000
    requirements = (stored / "requirements.txt").read_text().split()
    needed = {*packaging._SERVED_WITH, *packaging._CHECKPOINT_WITH}
    assert {line.partition("==")[0] for line in requirements} == needed
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


@pytest.fixture(scope="module")
def bundled(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stored model that answers by its bundle, which tells high tones from low ones and calls noise unknown."""
    from mlflow.models import Model

    folder = tmp_path_factory.mktemp("bundled")
    write_tones(folder / "bundle")
    rng = np.random.default_rng(0)
    tones = [tone(hz * rng.uniform(0.9, 1.1), 0.5, rng.uniform(0.2, 0.4)) for hz in 30 * (500, 2000)]
    embeddings = Classifier.load(folder / "bundle").hear(tones).embeddings
    fitted = novelty.fit(embeddings[:40], 20 * ["low", "high"], embeddings[40:])
    assert fitted is not None
    fitted.save(folder / "bundle")
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / "config.json").write_text("{}")
    checkpoint_ = Checkpoint(
        path=folder / "checkpoint",
        sha256="c0ffee",
        backbone="speech-embedding",
        backbone_revision="1",
        preprocessing="p",
        labels=("high", "low"),
        trainable_parameters=1,
        seconds=0.0,
    )
    packaging.save_model(folder / "model", checkpoint_, Model(artifact_path="model"), folder / "bundle")
    return folder / "model"


def test_a_bundle_lies_beside_the_checkpoint_and_needs_no_torch(bundled: Path) -> None:
    assert (bundled / "artifacts" / "checkpoint" / "config.json").is_file()
    assert (bundled / "artifacts" / "serving" / "serving.json").is_file()
    names = {line.partition("==")[0] for line in (bundled / "requirements.txt").read_text().split()}
    assert "onnxruntime" in names
    assert not names & {"torch", "transformers", "prefect", "dvc", "great-expectations", "great_expectations"}


def test_samples_are_heard_at_their_rate_and_noise_is_unknown(bundled: Path) -> None:
    import mlflow.pyfunc

    model = mlflow.pyfunc.load_model(str(bundled))
    noise = np.random.default_rng(1).uniform(-0.9, 0.9, 4000)
    answer = model.predict(pd.DataFrame({"samples": [tone(500), tone(2000), noise]}))
    assert answer["label"].tolist() == ["low", "high", "unknown"]
    assert answer["is_unknown"].tolist() == [False, False, True]
    assert list(answer.columns) == model.metadata.signature.outputs.input_names()
    np.testing.assert_allclose(answer["probability"], answer[["p_high", "p_low"]].max(axis=1))
    # 2 kHz at 8 kHz is 500 Hz at 2 kHz
    slowed = model.predict(pd.DataFrame({"samples": [tone(2000, 1.0)], "sample_rate_hz": [2000.0]}))
    assert slowed["label"].tolist() == ["low"]


def minutes_in_a_few_bytes() -> bytes:
    """Half an hour of silence, as FLAC."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros(1800 * 8000, np.int16), 8000, format="FLAC")
    return file.getvalue()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"samples": [[0.0, 20000.0]]}, "a sample is 20000, where full scale is 1"),
        ({"samples": [[0.1]], "sample_rate_hz": [12.5]}, "sample_rate_hz: 12.5 is no whole number from 2000 to 768000"),
        ({"samples": [[0.1]], "sample_rate_hz": [1000.0]}, "sample_rate_hz: 1000 is no whole number from 2000"),
        ({"samples": [[0.0] * 1_202_000], "sample_rate_hz": [2000.0]}, "601.0 s, at most 600 s wanted"),
        ({"audio": [minutes_in_a_few_bytes()]}, "at most 600 s"),
        ({"sample_rate_hz": [8000.0]}, "A row needs 'audio', an encoded recording"),
    ],
)
def test_what_cannot_be_heard_is_named(bundled: Path, row: dict[str, Any], message: str) -> None:
    import mlflow.pyfunc

    with pytest.raises(ValueError, match=message):
        mlflow.pyfunc.load_model(str(bundled)).predict(pd.DataFrame(row))


@pytest.mark.servers
def test_mlflow_serves_base64_audio_and_samples(bundled: Path, tmp_path: Path) -> None:
    with mlflow_server(bundled, tmp_path) as address:
        encoded = [base64.b64encode(audio.encode_wav(tone(hz), SAMPLE_RATE_HZ)).decode() for hz in (500, 2000)]
        answers = asked(address, {"dataframe_records": [{"audio": text} for text in encoded]})
        assert [answer["label"] for answer in answers] == ["low", "high"]
        assert answers[0]["p_low"] == pytest.approx(answers[0]["probability"])
        answers = asked(address, {"dataframe_split": {"columns": ["samples"], "data": [[tone(2000).tolist()]]}})
        assert [answer["label"] for answer in answers] == ["high"]


@contextlib.contextmanager
def mlflow_server(model: Path, folder: Path) -> Iterator[str]:
    """`mlflow models serve` on loopback, in which neither orchestration nor torch can be imported."""
    (folder / "sitecustomize.py").write_text(
        SERVE.partition("from pathlib")[0].replace('"prefect"', '"prefect", "torch"')
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model), "--env-manager", "local"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "PATH": path}
    said = folder / "said.txt"
    with said.open("w") as out:
        server = subprocess.Popen(
            [*command, "--port", str(port), "--workers", "1"],
            cwd=folder,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(600):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/ping", timeout=5):
                break
            assert server.poll() is None, said.read_text()
            time.sleep(0.1)
        yield address
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def asked(address: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    request = urllib.request.Request(
        f"{address}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return list(json.load(answer)["predictions"])
