"""The command line in one workspace, from `init` to a registered version, on 42 synthetic clips."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from mlflow import MlflowClient

from tasks.registry import ChampionMovedError
from tenuto.sound import audio
from tests import chirps
from tests.flows.shell import QUICK, Shell


@pytest.fixture(scope="module")
def workspace(shell: Shell, recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace with all recordings but one class's last speaker added, and a silent one left out."""
    parent = tmp_path_factory.mktemp("cli")
    assert shell.json(parent, "init", "chirps") == {"workspace": str(parent / "chirps")}
    root = parent / "chirps"
    (recordings / "up_ann_9.wav").write_bytes(audio.encode_wav(np.zeros(8000, np.float32), 16_000))
    added = shell.json(root, "data", "add", str(recordings), "--pattern", "{label}_{speaker}_{index}.wav")
    assert (added["added"], added["unchanged"]) == (42, 0)
    assert added["quarantined"] == [{"path": "up_ann_9.wav", "reason": "silent"}]
    assert f"md5: {added['md5']}" in (root / "data.dvc").read_text()
    yield root


@pytest.fixture(scope="module")
def first(shell: Shell, workspace: Path) -> dict[str, Any]:
    """What the first retrain printed."""
    return shell.json(workspace, "retrain", *QUICK)


@pytest.mark.servers
def test_a_first_run_registers_a_model_and_prints_the_documented_object(workspace: Path, first: dict[str, Any]) -> None:
    assert set(first) == {
        *(
            "verdict",
            "reasons",
            "trained",
            "is_awaiting",
            "model",
            "metrics",
            "fill",
            "remedy",
            "dataset",
            "run",
            "report",
            "seconds",
        )
    }
    assert first["verdict"] in ("promote", "register")
    assert first["trained"] is True
    alias = {"promote": "champion", "register": "challenger"}[first["verdict"]]
    assert first["model"] == {"name": "chirps", "version": "1", "aliases": [alias]}
    assert first["metrics"]["champion"] is None
    assert first["metrics"]["candidate"]["macro_f1"] > first["metrics"]["majority"]["macro_f1"]
    assert (first["dataset"]["clips"], first["dataset"]["quarantined"]) == (42, 1)
    assert set(first["dataset"]) == {"md5", "clips", "quarantined"}
    assert set(first["run"]) == {"mlflow", "prefect", "git"} and first["run"]["prefect"]
    assert first["seconds"]["total"] >= sum(first["seconds"].values()) - first["seconds"]["total"] - 0.1
    page = Path(first["report"]).read_text()
    assert "up_ann_9.wav" in page and "chirps" in page
    tags = MlflowClient(f"sqlite:///{workspace}/.tenuto/mlflow.db").get_model_version("chirps", "1").tags
    assert (tags["tenuto.backbone_licence"], tags["tenuto.commercial_use"]) == ("Apache-2.0", "allowed")


@pytest.mark.servers
def test_with_nothing_changed_nothing_is_trained(shell: Shell, workspace: Path, first: dict[str, Any]) -> None:
    again = shell.json(workspace, "retrain", *QUICK)
    assert (again["verdict"], again["trained"], again["model"]) == ("nothing changed", False, first["model"])
    assert again["metrics"]["candidate"]["macro_f1"] == pytest.approx(first["metrics"]["candidate"]["macro_f1"])
    assert again["report"] == first["report"]
    assert len(runs(workspace)) == 1


@pytest.mark.servers
def test_a_stop_of_validation_is_a_verdict_with_a_page_and_not_a_traceback(
    shell: Shell, workspace: Path, first: dict[str, Any]
) -> None:
    stopped = shell.json(workspace, "retrain", *QUICK, "--set", "data.on_quarantine=stop", code=2)
    assert (stopped["verdict"], stopped["trained"], stopped["model"]) == ("not evaluated", False, None)
    assert stopped["reasons"] == ["1 recordings were left out, and params.yaml says data.on_quarantine: stop"]
    assert "data.on_quarantine" in Path(stopped["report"]).read_text()
    assert [row["version"] for row in shell.json(workspace, "models")["models"]] == ["1"]


@pytest.mark.servers
def test_ctrl_c_leaves_the_registry_as_it_was_and_the_next_run_finishes(
    shell: Shell, workspace: Path, first: dict[str, Any]
) -> None:
    other = (*QUICK, "--set", "seed=5")
    before = len(runs(workspace))
    process = shell.start(workspace, "retrain", *other)
    wait_for(lambda: len(runs(workspace)) > before)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Ctrl-C" in err and "Traceback" not in err
    assert [row["version"] for row in shell.json(workspace, "models")["models"]] == ["1"]
    finished = shell.json(workspace, "retrain", *other)
    assert finished["trained"] and finished["model"]["version"] == "2"
    assert [run.info.status for run in runs(workspace)][:2] == ["FINISHED", "KILLED"]


@pytest.mark.parametrize(
    "family", ["wav2vec2", *(pytest.param(f, marks=pytest.mark.slow) for f in ("ast", "hubert", "wavlm", "whisper"))]
)
@pytest.mark.servers
def test_any_transformers_checkpoint_goes_the_same_way(
    shell: Shell, workspace: Path, first: dict[str, Any], family: str, tmp_path: Path
) -> None:
    backbone = chirps.tiny_checkpoint(family, tmp_path / family)
    outcome = shell.json(workspace, "retrain", *QUICK, "--set", f"backbone={backbone}", "--set", "name=tiny", code=None)
    assert outcome["trained"] and outcome["verdict"] in ("promote", "register", "reject", "inconclusive")
    assert set(outcome["metrics"]) == {"candidate", "baseline", "champion", "majority"}


@pytest.mark.servers
def test_a_report_that_fails_after_registration_does_not_register_the_model_twice(
    shell: Shell, workspace: Path, first: dict[str, Any]
) -> None:
    named = (*QUICK, "--set", "name=twice")
    with mock.patch("tenuto.reporting.report.write_report", side_effect=OSError("no space left on device")):
        failed = shell.json(workspace, "retrain", *named, code=1)
    assert "no space left on device" in failed["error"]
    again = shell.json(workspace, "retrain", *named)
    assert again["model"]["version"] == "1" and Path(again["report"]).is_file()
    assert [row["version"] for row in shell.json(workspace, "models", "--set", "name=twice")["models"]] == ["1"]


@pytest.mark.servers
def test_a_champion_that_keeps_moving_fails_the_run_so_that_the_next_one_tries_again(
    shell: Shell, workspace: Path, first: dict[str, Any]
) -> None:
    named = (*QUICK, "--set", "name=moving")
    moved = ChampionMovedError("moving: the champion moved from version 1 to version 2")
    with mock.patch("tasks.registry.packaging.log_model", side_effect=moved):
        failed = shell.json(workspace, "retrain", *named, code=1)
    assert failed["error"].endswith("from version 1 to version 2")
    assert shell.json(workspace, "retrain", *named)["trained"] is True


@pytest.mark.servers
def test_data_that_cannot_be_divided_ends_in_a_verdict(shell: Shell, recordings: Path, tmp_path: Path) -> None:
    shell.json(tmp_path, "init", "one")
    one_class = tmp_path / "only" / "up"
    one_class.mkdir(parents=True)
    for path in recordings.glob("up_*_0.wav"):
        shutil.copy(path, one_class)
    shell.json(tmp_path / "one", "data", "add", str(tmp_path / "only"))
    outcome = shell.json(tmp_path / "one", "retrain", *QUICK, code=2)
    assert (outcome["verdict"], outcome["trained"]) == ("not evaluated", False)
    assert "up" in outcome["reasons"][0] and Path(outcome["report"]).is_file()


@pytest.mark.servers
def test_the_present_dataset_is_checked_against_the_expectations(shell: Shell, workspace: Path) -> None:
    found = shell.json(workspace, "data", "check")
    missed = {finding["expectation"] for finding in found["findings"] if not finding["success"]}
    assert {"quarantined", "clips_per_class"} <= missed
    (workspace / "expectations.yaml").rename(workspace / "kept.yaml")
    text = (workspace / "kept.yaml").read_text()
    before = "- name: quarantined                         # recordings that could not be used\n    severity: "
    assert f"{before}warn" in text
    (workspace / "expectations.yaml").write_text(text.replace(f"{before}warn", f"{before}stop"))
    try:
        shell.json(workspace, "data", "check", code=2)
    finally:
        (workspace / "kept.yaml").rename(workspace / "expectations.yaml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("retrain", "--set", "finetune.epoch=3"), "unknown key 'finetune.epoch'; did you mean 'epochs'?"),
        (("retrain", "--set", "split.hold_out.speaker=[zoe]"), "zoe"),
        (("data", "add", "nowhere"), "nowhere"),
        (("data", "add", ".", "--pattern", "{labl}_{index}.wav"), "label"),
        (("init", "."), "is a workspace already"),
    ],
)
@pytest.mark.servers
def test_a_mistake_is_named_without_a_traceback(
    shell: Shell, workspace: Path, arguments: tuple[str, ...], message: str
) -> None:
    code, out, err = shell.run(workspace, *arguments)
    assert (code, out) == (1, ""), err
    assert message in err and "Traceback" not in err


@pytest.mark.servers
def test_a_copy_of_the_workspace_without_its_bytes_pulls_them(
    shell: Shell, workspace: Path, recordings: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(workspace, copy, ignore=shutil.ignore_patterns("data", ".tenuto", "cache"))
    again = shell.json(copy, "data", "add", str(recordings), "--pattern", "{label}_{speaker}_{index}.wav")
    assert (again["added"], again["unchanged"]) == (0, 42)
    assert len(list((copy / "data/clips").rglob("*.wav"))) == 42


def runs(workspace: Path) -> list[Any]:
    """All MLflow runs of the workspace's model."""
    client = MlflowClient(f"sqlite:///{workspace}/.tenuto/mlflow.db")
    experiment = client.get_experiment_by_name("chirps")
    return client.search_runs([experiment.experiment_id]) if experiment else []


def wait_for(condition: Any, seconds: float = 100) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def test_a_ctrl_c_that_falls_into_a_finalizer_is_neither_lost_nor_shown() -> None:
    program = """
import os, signal, time
from flows import cli

class Finalized:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0)

signal.signal(signal.SIGINT, signal.default_int_handler)  # the background of a test run ignores it
cli._set_up_process()
try:
    Finalized()
    time.sleep(300)
except KeyboardInterrupt:
    print("ended")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (ended.stdout, ended.stderr) == ("ended\n", "")


def test_ctrl_c_while_the_command_is_imported_is_a_line() -> None:
    program = """
import sys

class Interrupted:
    def find_spec(self, name, *_):
        if name == "flows.cli":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted())
from flows.__main__ import main
main()
"""
    ended = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "ended by Ctrl-C\n")
