"""Tailored models on the whole way: trained, registered, and answering from the registry."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import mlflow.artifacts
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from flows import servers
from tenuto.learning.predictor import Predictor
from tenuto.sound import audio
from tenuto.workspace import Workspace
from tests.chirps import tiny_checkpoint
from tests.flows.shell import QUICK, Shell
from tests.tasks.test_pyfunc_model import SERVE

pytestmark = pytest.mark.usefixtures("exported_really")

POLICY = "rules:\n  - {name: good enough, metric: accuracy, at_least: 0.01, severity: hold}\n"
PLAIN = ("--set", "augment={fill: 0, pitch: 0, stretch: 0, room: 0}")

TAILORINGS = [
    ("speech-embedding", ["model.head=prototype"]),
    ("speech-embedding", ["model.pool=gru"]),
    ("speech-embedding", ["model.truncate=14"]),
    ("speech-embedding", ["model.adapter_size=16"]),
    ("wav2vec2", ["model.lora_rank=4"]),
    ("wav2vec2", ["model.window_seconds=0.5", "model.pool=mean"]),
]


def registered(shell: Shell, recordings: Path, folder: Path, backbone: str, settings: list[str]) -> Path:
    """The files of version 1, which was trained with these settings in a workspace of its own."""
    shell.json(folder, "init", "chirps")
    root = folder / "chirps"
    if backbone != "speech-embedding":
        tiny_checkpoint(backbone, root / backbone, layers=2)
    (root / "mlflow" / "promotion.yaml").write_text(POLICY)
    shell.json(root, "data", "add", str(recordings), "--pattern", "{label}_{speaker}_{index}.wav")
    chosen = [part for setting in (f"backbone={backbone}", *settings) for part in ("--set", setting)]
    assert shell.json(root, "retrain", *QUICK, *PLAIN, *chosen)["model"]["version"] == "1"
    store = servers.own_store(Workspace(root))
    source = MlflowClient(store).get_model_version_download_uri("chirps", "1")
    return Path(mlflow.artifacts.download_artifacts(artifact_uri=source, tracking_uri=store, dst_path=str(folder)))


def checkpoint_in(model: Path) -> Path:
    (config,) = (model / "artifacts").glob("*/config.json")
    return config.parent


def own_answer(model: Path, clip: Path) -> np.ndarray:
    """What the checkpoint in the version's files says of a clip, (classes,)."""
    predictor = Predictor.load(checkpoint_in(model))
    heard = audio.decode_bytes(clip.read_bytes())
    return predictor.predict([audio.waveform(heard, predictor.sample_rate_hz)])[0]


def assert_alike(served: np.ndarray, own: np.ndarray) -> None:
    """The same label, and probabilities as near as 8-bit integers come."""
    assert served.argmax() == own.argmax()
    np.testing.assert_allclose(served, own, atol=0.05)


def test_a_tailored_model_answers_from_the_registry(shell: Shell, recordings: Path, tmp_path: Path) -> None:
    model = registered(shell, recordings, tmp_path, "speech-embedding", ["model.head=mlp", "model.pool=attention"])
    config = json.loads((checkpoint_in(model) / "config.json").read_text())
    assert config["model_type"] == "tenuto-tailored"
    clip = min(recordings.glob("*.wav"))
    answers = mlflow.pyfunc.load_model(str(model)).predict(pd.DataFrame({"audio": [clip.read_bytes()]}))
    assert_alike(answers.filter(like="p_").to_numpy()[0], own_answer(model, clip))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("backbone", "settings"), TAILORINGS, ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_every_way_of_tailoring_answers_in_a_process_that_has_the_stored_files_only(
    backbone: str, settings: list[str], shell: Shell, recordings: Path, tmp_path: Path
) -> None:
    model = registered(shell, recordings, tmp_path, backbone, settings)
    clip = min(recordings.glob("*.wav"))
    command = [sys.executable, "-I", "-c", SERVE, str(model), str(clip)]
    served = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    (row,) = json.loads(served.stdout.splitlines()[-1])
    heard = [value for name, value in row.items() if name.startswith("p_")]
    assert_alike(np.array(heard), own_answer(model, clip))
