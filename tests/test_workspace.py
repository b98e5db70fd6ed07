import os
from pathlib import Path

import pytest

from tenuto.errors import WorkspaceError
from tenuto.workspace import Workspace


def test_a_workspace_is_found_from_any_folder_inside_it(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("name: digits\n")
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    assert Workspace.find(inside).root == tmp_path.resolve()


def test_outside_a_workspace_the_error_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="tenuto init DIR"):
        Workspace.find(tmp_path)


def test_looking_creates_nothing(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("name: digits\n")
    workspace = Workspace.find(tmp_path)
    assert not any(p.exists() for p in (workspace.state, workspace.data, workspace.cache))


def test_a_second_writer_is_told_who_holds_the_workspace(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    holder = rf"`tenuto data add` \(process {os.getpid()}"
    with (
        workspace.exclusive("data add"),
        pytest.raises(WorkspaceError, match=holder),
        Workspace(tmp_path).exclusive("retrain"),
    ):
        raise AssertionError("entered twice")
    with workspace.exclusive("retrain"):
        pass


def test_the_newest_trainings_are_kept(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    for age, name in enumerate(("new", "recent", "old")):
        folder = workspace.checkpoints / name
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_text(name)
        os.utime(folder, (1_000_000 - age, 1_000_000 - age))
    workspace.forget_old_trainings(keep=2)
    assert {folder.name for folder in workspace.checkpoints.iterdir()} == {"new", "recent"}
