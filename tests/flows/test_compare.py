"""`tenuto compare` in a workspace: what is printed, tracked and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from flows import servers
from tenuto.workspace import Workspace
from tests.flows.shell import Shell


@pytest.fixture(scope="module")
def compared(shell: Shell, recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A workspace in which one backbone that is there and one that is not were compared."""
    parent = tmp_path_factory.mktemp("compared")
    shell.json(parent, "init", "chirps")
    root = parent / "chirps"
    shell.json(root, "data", "add", str(recordings), "--pattern", "{label}_{speaker}_{index}.wav")
    arguments = ("--backbone", "speech-embedding", "--backbone", "no/where", "--head", "linear")
    with pytest.MonkeyPatch.context() as online:
        online.delenv("HF_HUB_OFFLINE", raising=False)  # where the hub is not to be asked, the command refuses at once
        return root, shell.json(root, "compare", *arguments)


def test_every_row_is_a_child_run_and_names_no_clip(compared: tuple[Path, dict[str, Any]]) -> None:
    root, found = compared
    client = MlflowClient(servers.own_store(Workspace(root)))
    experiment = client.get_experiment_by_name("chirps trials")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = {run.info.run_name: run for run in runs if run is not parent}
    assert [file.path for file in client.list_artifacts(parent.info.run_id)] == ["pareto.png"]
    there, absent = children["speech-embedding, linear, frozen"], children["no/where, linear, frozen"]
    assert there.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert there.data.metrics["macro_f1"] == pytest.approx(found["rows"][0]["macro_f1"]["value"])
    assert there.data.params["licence"] == "Apache-2.0"
    assert "cannot be loaded" in absent.data.params["problem"] and absent.data.metrics == {}
    said = " ".join([*there.data.params.values(), *there.data.tags.values()])
    assert not any(speaker in said.split() for speaker in ("ann", "ben", "cat"))


def test_the_page_holds_the_table_and_the_picture(compared: tuple[Path, dict[str, Any]]) -> None:
    page = Path(compared[1]["page"]).read_text()
    assert "speech-embedding, linear" in page and "data:image/png;base64," in page
    assert "no/where, linear, frozen" in page and "cannot be loaded" in page


def test_a_second_call_takes_the_finished_row_and_fits_eighty_columns(
    compared: tuple[Path, dict[str, Any]], shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tenuto.learning import finetune

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(finetune, "train_candidate", lambda *a, **k: pytest.fail("trained again"))
    code, out, err = shell.run(compared[0], "compare", "--backbone", "speech-embedding", "--head", "linear")
    assert code == 0, err
    assert "Best on the validation clips: speech-embedding, linear, frozen" in out
    rows = [line for line in out.splitlines() if "0." in line and "linear" in line and "Best" not in line]
    assert rows and max(map(len, rows)) <= 80


def test_an_unknown_head_is_refused_at_once(shell: Shell, tmp_path: Path) -> None:
    code, _, err = shell.run(tmp_path, "compare", "--head", "deep")
    assert code == 2
    assert "'deep': wanted linear, mlp, prototype" in " ".join(err.split())
