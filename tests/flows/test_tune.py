"""`tenuto tune` at the terminal: a search on embeddings, a kill, and the winner through the gate."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tenuto.workspace import Workspace
from tests.flows.shell import QUICK, Shell

SPACE = "tune.space={finetune.probe_c: {low: 0.01, high: 10, log: true}, imbalance.loss: [cross-entropy, focal]}"
SEARCH = ("tune", "--set", SPACE, "--trials", "4")


@pytest.fixture
def workspace(shell: Shell, recordings: Path, tmp_path: Path) -> Path:
    shell.json(tmp_path, "init", "chirps")
    root = tmp_path / "chirps"
    shell.json(root, "data", "add", str(recordings), "--pattern", "{label}_{speaker}_{index}.wav")
    return root


def test_the_search_goes_on_where_it_was_and_the_winner_goes_through_the_gate(shell: Shell, workspace: Path) -> None:
    first = shell.json(workspace, *SEARCH[:-1], "2", "--no-retrain")["tune"]
    assert first["ran"] == 2 and [trial["number"] for trial in first["trials"]] == [1, 2]
    assert first["trials"][0]["is_present"] and first["trials"][0]["settings"] == {}
    whole = shell.json(workspace, *SEARCH, *QUICK, code=None)
    tuned = whole["tune"]
    assert whole["verdict"] in ("promote", "register", "reject", "inconclusive") and whole["trained"]
    assert tuned["study"] != first["study"], "epochs are another question, and so another search"
    assert tuned["ran"] == len(tuned["trials"]) == 4
    again = shell.json(workspace, *SEARCH, *QUICK)
    assert again["tune"]["ran"] == 0 and again["tune"]["trials"] == tuned["trials"]
    assert again["verdict"] == "nothing changed"
    page = Path(tuned["report"]).read_text(encoding="utf-8")
    assert "Trials" in page and tuned["study"] in page
    assert Workspace(workspace).latest_report().parent.name == "reports", "the page of the search is no run's"
    client = MlflowClient(f"sqlite:///{Workspace(workspace).mlflow_db}")
    experiment = client.get_experiment_by_name("chirps trials")
    assert experiment is not None
    children = client.search_runs([experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{tuned['mlflow_run']}'")
    assert sorted(run.info.run_name or "" for run in children) == [f"trial {number}" for number in range(1, 5)]
    best = {run.info.run_name: run for run in children}[f"trial {tuned['best']['number']}"]
    assert best.data.metrics["macro_f1"] == pytest.approx(tuned["best"]["macro_f1"])
    assert [file.path for file in client.list_artifacts(tuned["mlflow_run"])] == [Path(tuned["report"]).name]


@pytest.mark.slow
def test_a_killed_search_runs_no_finished_trial_twice(shell: Shell, workspace: Path) -> None:
    search = (*SEARCH[:-1], "40", "--no-retrain")
    process = shell.start(workspace, *search, "--json")
    kept: list[str] = []
    while len(kept) < 3 and process.poll() is None:
        time.sleep(0.05)
        kept = told(workspace)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = told(workspace)
    assert 3 <= len(kept) < 40
    tuned = shell.json(workspace, *search)["tune"]
    assert tuned["ran"] == 40 - len(kept)
    assert [json.dumps(trial) for trial in tuned["trials"][: len(kept)]] == kept


def told(workspace: Path) -> list[str]:
    """The finished trials in the journal."""
    lines = [
        json.loads(line)
        for journal in Workspace(workspace).tunings.glob("*.log")
        for line in journal.read_text().splitlines(keepends=True)
        if line.endswith("\n")
    ]
    ended = {line["trial_id"] for line in lines if line["op_code"] == 6 and line["state"] in (1, 2)}
    records = [line for line in lines if "trial" in line.get("user_attr", ())]
    return [json.dumps(line["user_attr"]["trial"]) for line in records if line["trial_id"] in ended]


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(shell: Shell, workspace: Path) -> None:
    process = shell.start(workspace, *SEARCH[:-1], "500", "--no-retrain", "--json")
    while not told(workspace) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "the same `tenuto tune` goes on from there" in json.loads(out)["error"]
    count = len(told(workspace))
    assert shell.json(workspace, *SEARCH[:-1], str(count + 1), "--no-retrain")["tune"]["ran"] == 1


def test_several_trials_run_at_a_time(shell: Shell, workspace: Path) -> None:
    tuned = shell.json(workspace, *SEARCH, "--no-retrain", "--set", "tune.workers=2")["tune"]
    assert tuned["ran"] == 4 and sum(trial["is_present"] for trial in tuned["trials"]) == 1


def test_a_wrong_space_is_said_before_anything_runs(shell: Shell, workspace: Path) -> None:
    shutil.rmtree(workspace / ".tenuto")
    code, _, err = shell.run(workspace, "tune", "--set", "tune.space.model.head=[tree]")
    assert code == 1 and "model.head = 'tree' cannot be used: input should be 'linear', 'mlp' or 'prototype'" in err
    assert not (workspace / ".tenuto").exists()
