"""The benchmark's cases in one process; how long each takes in its own, the benchmark says."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.wrong_params import CASES, Case, fill, set_policy
from flows import cli
from tenuto import scaffold
from tests.flows.test_imports import HEAVY


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("wrong") / "digits"
    scaffold.create(root, "digits")
    fill(root)
    return root


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_wrong_settings_are_refused_for_their_reason(
    case: Case, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(workspace / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    set_policy(workspace, case.policy)
    settings = [part for setting in case.settings for part in ("--set", setting)]
    with contextlib.chdir(workspace):
        result = CliRunner().invoke(cli.app, ["retrain", *settings])
    assert result.exit_code == 1 and case.words in result.output, result.output


def test_a_refusal_imports_nothing_that_takes_seconds(workspace: Path) -> None:
    set_policy(workspace, "any")
    code = f"""
import sys
from flows import cli
try:
    cli.app(["retrain", "--set", "model.truncate=40"])
except SystemExit as ended:
    print(ended.code, *[name for name in {HEAVY!r} if name in sys.modules])
"""
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=workspace,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": ROOT},
    )
    assert found.stdout.split() == ["1"], found.stderr


ROOT = str(Path(__file__).parents[2])
