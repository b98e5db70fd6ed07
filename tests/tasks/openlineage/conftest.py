"""A workspace after a whole run, with no configuration of OpenLineage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tenuto.reporting.report import ReportInputs
from tenuto.workspace import Workspace
from tests.reporting import sample
from tests.tasks.openlineage.retrain import events, retrain


@pytest.fixture(autouse=True)
def unconfigured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration of OpenLineage, whatever the machine has, and none that is left behind."""
    for name in ("URL", "CONFIG", "DISABLED", "NAMESPACE", "API_KEY", "ENDPOINT"):
        monkeypatch.delenv(f"OPENLINEAGE_{name}", raising=False)
    # the library copies the address into these, which would outlast the test
    for name in ("TYPE", "URL"):
        monkeypatch.setenv(f"OPENLINEAGE__TRANSPORT__TRANSPORTS__DEFAULT_HTTP__{name}", "")
        monkeypatch.delenv(f"OPENLINEAGE__TRANSPORT__TRANSPORTS__DEFAULT_HTTP__{name}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    """A whole run's records; what is the manifest of a dataset has the speakers as groups."""
    inputs = sample.whole_run(tmp_path_factory.mktemp("run"), per_cell=1)
    assert inputs.dataset and inputs.clips_path and inputs.verdict
    rule = inputs.verdict.rules[0].model_copy(
        update={"rule": "Hana's recall", "reason": "speaker hana: recall 0.934", "plain": "recall 0.934"}
    )
    inputs = replace(inputs, verdict=inputs.verdict.model_copy(update={"rules": (rule, *inputs.verdict.rules)}))
    pd.read_parquet(inputs.clips_path).drop(columns="split").to_parquet(inputs.dataset.manifest_path)
    return inputs


@pytest.fixture
def workspace(tmp_path: Path, run: ReportInputs) -> Workspace:
    assert run.dataset
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "manifest.parquet").write_bytes(run.dataset.manifest_path.read_bytes())
    return Workspace(tmp_path)


@pytest.fixture
def told(workspace: Workspace, run: ReportInputs) -> list[dict[str, Any]]:
    retrain(workspace, run)
    return events(workspace)
