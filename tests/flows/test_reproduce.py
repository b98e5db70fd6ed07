"""A version made again in a scratch folder: what it is compared with, and that nothing of it is left."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from safetensors.torch import load_file, save_file

from flows import reproduce as flow
from tasks import dataset, reproduce
from tenuto.errors import RegistryError, WorkspaceError
from tenuto.records import CodeVersion
from tenuto.settings import load_params
from tenuto.tracing import lineage
from tenuto.tracing.reproduction import Comparison, NotReproducibleError
from tenuto.typed_yaml import read_yaml
from tenuto.workspace import Workspace
from tests.flows.shell import Shell
from tests.tracing.test_lineage import git

FAKE_CLI = """\
import pathlib, signal, sys, time
def end(*_):
    pathlib.Path("ended").write_text("in order")
    raise KeyboardInterrupt
signal.signal(signal.SIGINT, end)
print("✓ fetch", file=sys.stderr, flush=True)
time.sleep(60)
"""


def again(root: Path, version: str = "@champion", tell: flow.Tell = lambda _: None, **options: Any) -> Comparison:
    workspace = Workspace(root)
    return flow.reproduce(workspace, load_params(workspace.params), version, tell=tell, **({"keep": False} | options))


def as_before(root: Path, change: Callable[[Path], None] = lambda _: None) -> Callable[..., None]:
    """Stands in for the flow: leaves the very training on record, with `change` made to its checkpoint folder."""

    def run(scratch: flow.Rebuilt, output: Path, tell: flow.Tell, lock: dict[str, str]) -> None:
        state = scratch.workspace.state
        state.mkdir()
        shutil.copyfile(Workspace(root).mlflow_db, scratch.workspace.mlflow_db)
        (trained,) = Workspace(root).checkpoints.glob("candidate-*")
        shutil.copytree(trained, state / "checkpoints" / trained.name)
        change(state / "checkpoints" / trained.name)

    return run


def nudge_weights(checkpoint: Path) -> None:
    path = checkpoint / "model.safetensors"
    tensors = load_file(path)
    name = sorted(tensors)[0]
    tensors[name] = tensors[name] + torch.where(torch.arange(tensors[name].numel()) == 0, 0.25, 0.0).view_as(
        tensors[name]
    )
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.servers
def test_the_same_training_is_identical_and_nothing_is_left(retrained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def look(checkpoint: Path) -> None:
        root = checkpoint.parents[2]
        seen["params"] = load_params(root / "params.yaml")
        seen["files"] = {path.name for path in root.iterdir()}
        seen["dataset"] = dataset.fetch.fn(root)

    monkeypatch.setattr(flow, "_run_flow", as_before(retrained, look))
    found = again(retrained)
    assert (found.result, found.version, found.differing) == ("identical", "1", ())
    assert found.files and all(found.files.values()) and found.weight_difference == 0
    assert (found.probability_difference, found.clips) == (0, 6)
    assert "no commit is on record" in found.note
    # as `--set` had it, and not as params.yaml does
    assert seen["params"].finetune.epochs == 1
    assert {"params.yaml", "expectations.yaml", "mlflow", "data.dvc"} <= seen["files"]
    assert (seen["dataset"].clips, seen["dataset"].md5) == (42, found_md5(found))
    assert not (retrained / ".tenuto" / "reproduce").exists()


def found_md5(found: Comparison) -> str | None:
    return next(row.now for row in found.inputs if row.name == "dataset")


@pytest.mark.servers
def test_a_single_weight_that_differs_is_found(retrained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "_run_flow", as_before(retrained, nudge_weights))
    found = again(retrained)
    assert (found.result, found.weight_difference) == ("same metrics", pytest.approx(0.25, rel=1e-5))
    assert [name for name, same in found.files.items() if not same] == ["model.safetensors"]


@pytest.mark.servers
def test_clips_that_were_left_out_for_a_champion_are_left_out_again(
    retrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = reproduce.Training.answers

    def fewer(self: reproduce.Training) -> pd.DataFrame:
        return answers(self)[::2] if self.version else answers(self)  # those on record

    fetch = as_before(retrained, lambda checkpoint: dataset.fetch.fn(checkpoint.parents[2]) and None)
    monkeypatch.setattr(flow, "_run_flow", fetch)
    monkeypatch.setattr(reproduce.Training, "answers", fewer)
    found = again(retrained)
    assert (found.clips, found.weight_difference) == (3, 0)
    # the same clip in another batch: the last bits may move, no more
    assert found.probability_difference is not None and found.probability_difference < 1e-4
    assert {name for name, pair in found.metrics.items() if None in pair} == set()


@pytest.mark.servers
def test_a_version_that_is_not_there_is_named(retrained: Path) -> None:
    with pytest.raises(RegistryError, match=r"'9' is no version of chirps; .* known here: 1, @champion"):
        again(retrained, "9")
    with pytest.raises(RegistryError, match="'@nobody' is no version of chirps"):
        again(retrained, "@nobody")
    with pytest.raises(RegistryError, match="'latest' is no version of chirps"):
        again(retrained, "latest")


@pytest.mark.servers
def test_an_erased_version_cannot_be_made_again(retrained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = MlflowClient(f"sqlite:///{Workspace(retrained).mlflow_db}").get_model_version("chirps", "1")
    version._tags["tenuto.erased"] = "2026-03-03"
    monkeypatch.setattr(reproduce, "_version", lambda *_: version)
    with pytest.raises(NotReproducibleError, match=r"chirps version 1 cannot be made again: .* erased \(2026-03-03\)"):
        again(retrained)


@pytest.mark.servers
def test_the_command_prints_the_table_and_tags_the_version(
    shell: Shell, retrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[Comparison] = []
    monkeypatch.setattr(flow, "note", lambda workspace, params, found: notes.append(found))
    monkeypatch.setattr(flow, "_run_flow", as_before(retrained))
    code, out, _ = shell.run(retrained, "reproduce", "@champion")
    assert code == 0 and "identical weights and metrics" in out and "source code" in out
    monkeypatch.setattr(flow, "_run_flow", as_before(retrained, nudge_weights))
    printed = shell.json(retrained, "reproduce", "1", "--keep", code=2)
    assert printed["result"] == "same metrics" and printed["summary"].endswith("no input on record differs")
    assert (Path(printed["kept"]) / "on-record").is_dir()
    assert [found.result for found in notes] == ["identical", "same metrics"]
    shutil.rmtree(printed["kept"])


@pytest.mark.servers
def test_two_at_once_do_not_share_a_scratch_folder(retrained: Path) -> None:
    with (
        flow._scratch(Workspace(retrained), keep=False),
        pytest.raises(WorkspaceError, match="is reproducing a version already"),
    ):
        again(retrained)


@pytest.fixture
def project(retrained: Path, tmp_path: Path) -> tuple[Workspace, reproduce.Training]:
    """A repository with sources and a workspace, and the training of `retrained` as if made from its one commit."""
    root = tmp_path / "project"
    for package in ("tenuto", "tasks", "flows"):
        (root / package).mkdir(parents=True)
        (root / package / "__init__.py").write_text("")
    (root / "flows" / "cli.py").write_text(FAKE_CLI)
    (root / ".gitignore").write_text(".tenuto/\n")
    (root / "params.yaml").write_text("name: chirps\nseed: 7\n")
    (root / "holdout.yaml").write_text("generation: 1\n")
    shutil.copytree(retrained / ".dvc", root / ".dvc")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    store = f"sqlite:///{Workspace(retrained).mlflow_db}"
    training = reproduce.recorded(store, "chirps", "1", tmp_path / "on-record")
    code = CodeVersion(commit=git(root, "rev-parse", "HEAD"), branch="main")
    made = training.made.model_copy(update={"lineage": training.made.lineage.model_copy(update={"code": code})})
    return Workspace(root), training.model_copy(update={"made": made})


@pytest.mark.servers
def test_the_code_is_that_of_the_commit_and_the_settings_are_those_of_the_run(
    project: tuple[Workspace, reproduce.Training], tmp_path: Path
) -> None:
    workspace, training = project
    (workspace.root / "flows" / "cli.py").write_text("raise SystemExit('not the code of that time')")
    (training.inputs / "promotion.yaml").write_text("rules: []\napproval: person\n")
    with flow.rebuilt(workspace, training, tmp_path / "tree", keep=False) as scratch:
        assert (scratch.code, scratch.why_not_rebuilt) == (tmp_path / "tree", "")
        assert (scratch.code / "flows" / "cli.py").read_text() == FAKE_CLI
        assert read_yaml(scratch.workspace.params)["seed"] == 0  # on record, and not 7 as in the commit
        assert not scratch.workspace.holdout.exists()  # the run had none
        assert read_yaml(scratch.workspace.promotion) == {"rules": []}  # nobody is asked
    assert not (tmp_path / "tree").exists()
    assert len(git(workspace.root, "worktree", "list").splitlines()) == 1


@pytest.mark.servers
def test_ctrl_c_ends_the_run_in_order_and_leaves_no_worktree(
    project: tuple[Workspace, reproduce.Training], tmp_path: Path
) -> None:
    workspace, training = project

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    environments: list[dict[str, str]] = []
    with mock.patch.dict(os.environ, MLFLOW_TRACKING_URI="http://elsewhere"), pytest.raises(KeyboardInterrupt):  # noqa: SIM117
        with flow.rebuilt(workspace, training, tmp_path / "tree", keep=False) as scratch:
            environments.append(flow._environment(scratch))
            try:
                flow._run_flow(scratch, tmp_path / "out", interrupt, {})
            finally:
                assert (scratch.workspace.root / "ended").read_text() == "in order"
    assert not (tmp_path / "tree").exists()
    assert "MLFLOW_TRACKING_URI" not in environments[0]


@pytest.mark.servers
@pytest.mark.parametrize(
    ("script", "message"),
    [
        ('print(\'{"error": "no space"}\'); raise SystemExit(1)', "The rebuilt run failed: no space"),
        ("raise SystemExit(3)", "it ended with exit code 3"),
    ],
)
def test_a_run_that_fails_says_why(
    project: tuple[Workspace, reproduce.Training], tmp_path: Path, script: str, message: str
) -> None:
    scratch = flow.Rebuilt(project[0], project[0].root, "")
    (project[0].root / "flows" / "cli.py").write_text(script)
    lock = lineage.locked(lineage.environment_lock())
    with pytest.raises(NotReproducibleError, match=f"{message}.?$"):
        flow._run_flow(scratch, tmp_path / "out", lambda _: None, lock)
    with pytest.raises(NotReproducibleError, match=r"differ from those on record: torch .* \(1\.0 then\)\.$"):
        flow._run_flow(scratch, tmp_path / "out", lambda _: None, lock | {"torch": "1.0"})


@pytest.mark.servers
def test_why_the_code_cannot_be_rebuilt(project: tuple[Workspace, reproduce.Training], tmp_path: Path) -> None:
    root, commit = project[0].root, project[1].made.lineage.code.commit
    assert flow._why_not_rebuilt(root, commit) == ""
    assert flow._why_not_rebuilt(root, None) == "no commit is on record"
    assert flow._why_not_rebuilt(root, "0" * 40) == "commit 000000000000 is gone from this repository"
    assert flow._why_not_rebuilt(tmp_path, commit) == "the workspace is in no git repository"
    git(root, "rm", "-q", "-r", "tasks")
    git(root, "commit", "-q", "-m", "data only")
    assert "installed package" in flow._why_not_rebuilt(root, git(root, "rev-parse", "HEAD"))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.servers
def test_the_real_flow_makes_the_same_weights_again(
    retrained: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", shell.address)
    told: list[str] = []
    found = again(retrained, tell=told.append)
    assert (found.result, found.weight_difference, found.probability_difference) == ("identical", 0, 0)
    assert any(line.startswith("✓ train candidate") for line in told)
