"""Tailored models on the whole way: trained, registered, and answering from the registry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.chirps import tiny_checkpoint
from tests.flows.shell import QUICK, Shell

POLICY = "rules:\n  - {name: good enough, metric: accuracy, at_least: 0.05, severity: hold}\n"

CASES = [
    ("speech-embedding", "model.head=mlp"),
    ("speech-embedding", "model.head=prototype"),
    ("speech-embedding", "model.pool=attention"),
    ("speech-embedding", "model.pool=gru"),
    ("speech-embedding", "model.truncate=14"),
    ("speech-embedding", "model.adapter_size=16"),
    ("wav2vec2", "model.lora_rank=4"),
    ("wav2vec2", "model.truncate=1"),
    ("wav2vec2", "model.window_seconds=0.5"),
]


@pytest.mark.slow
@pytest.mark.servers
@pytest.mark.parametrize(("backbone", "setting"), CASES)
def test_a_tailored_model_answers_from_the_registry(
    backbone: str, setting: str, shell: Shell, recordings: Path, tmp_path: Path
) -> None:
    import mlflow
    import pandas as pd

    shell.json(tmp_path, "init", "chirps")
    root = tmp_path / "chirps"
    if backbone != "speech-embedding":
        tiny_checkpoint(backbone, root / backbone, layers=2)
    (root / "mlflow" / "promotion.yaml").write_text(POLICY)
    shell.json(root, "data", "add", str(recordings), "--pattern", "{label}_{speaker}_{index}.wav")
    made = shell.json(root, "retrain", *QUICK, "--set", f"backbone={backbone}", "--set", setting)
    assert made["model"]["version"] == "1"
    mlflow.set_tracking_uri(f"sqlite:///{root}/.tenuto/mlflow.db")
    model = mlflow.pyfunc.load_model("models:/chirps/1")
    clips = sorted(recordings.glob("*.wav"))[:3]
    answers = model.predict(pd.DataFrame({"audio": [clip.read_bytes() for clip in clips]}))
    np.testing.assert_allclose(answers.filter(like="p_").sum(axis=1), 1, atol=1e-6)
