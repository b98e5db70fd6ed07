"""The export stage of a retrain: what it leaves in MLflow, and what a version without a bundle says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from unittest import mock

import pytest
from mlflow import MlflowClient

from tenuto.errors import ExportError
from tenuto.exporting import making
from tenuto.serving.hearing.classifier import Classifier
from tenuto.workspace import Workspace
from tests.bundles import tone
from tests.flows.shell import QUICK, Shell

pytestmark = pytest.mark.servers


def client_of(root: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{Workspace(root).mlflow_db}")


def test_the_version_carries_the_bundle_and_says_what_serves_it(retrained: Path) -> None:
    version = client_of(retrained).get_model_version("chirps", "1")
    assert version.tags["tenuto.served_by"] == "fp32"
    model = Path(version.source.removeprefix("file://"))
    heard = Classifier.load(model / "artifacts" / "serving").hear([tone(2000)])
    assert heard.probabilities[0, 0] > 0.5
    assert "onnxruntime" in (model / "requirements.txt").read_text()


def test_what_will_serve_is_what_budgets_judge(retrained: Path) -> None:
    client = client_of(retrained)
    run_id = client.get_model_version("chirps", "1").run_id or ""
    artifacts = Path(client.get_run(run_id).info.artifact_uri.removeprefix("file://"))
    latency = json.loads((artifacts / "evaluation" / "evaluation.json").read_text())["latency"]
    assert latency["candidate"]["p95_ms"] == 0.3
    assert latency["checkpoint"]["p95_ms"] != 0.3
    assert client.get_run(run_id).data.metrics["serving.fp32.p50_ms"] == 0.2
    export = json.loads((artifacts / "export" / "export.json").read_text())
    assert export["bundle"]["best"] == "fp32" and "folder" not in export
    card = (artifacts / "card" / "model-card.md").read_text()
    assert "The candidate is served as an ONNX graph, fp32" in card
    assert "Candidate in PyTorch" in card
    assert "The candidate is served as an ONNX graph, fp32" in Workspace(retrained).latest_report().read_text()


def test_a_run_that_is_taken_up_again_exports_nothing_anew_and_one_without_a_bundle_registers(
    shell: Shell, retrained: Path, tmp_path: Path
) -> None:
    root = tmp_path / "copy"
    shutil.copytree(retrained, root, ignore=shutil.ignore_patterns("mlflow.db", "ledger*", "mlartifacts", "audit*"))
    (folder,) = Workspace(root).checkpoints.glob("serving-*")
    before = (folder / "serving.json").stat().st_mtime_ns
    first = shell.json(root, "retrain", *QUICK)
    assert first["verdict"] == "promote" and "export" in first["seconds"]
    assert (folder / "serving.json").stat().st_mtime_ns == before

    with mock.patch.object(making, "export", side_effect=ExportError("It has no graph.")):
        other = shell.json(root, "retrain", *QUICK, "--set", "seed=5", code=None)
    assert other["model"] is not None
    version = client_of(root).get_model_version("chirps", other["model"]["version"])
    assert version.tags["tenuto.served_by"] == "not exported: It has no graph."
    assert not (Path(version.source.removeprefix("file://")) / "artifacts" / "serving").exists()
    page = Path(other["report"]).read_text()
    assert "The candidate was not exported" in page and "It has no graph." in page
