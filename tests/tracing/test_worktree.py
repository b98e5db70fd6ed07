"""A commit checked out beside the user's checkout, and nothing left of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenuto.tracing import worktree
from tenuto.tracing.reproduction import NotReproducibleError
from tests.tracing.test_lineage import git


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    for package in ("tenuto", "tasks", "flows"):
        (root / "inner" / package).mkdir(parents=True)
        (root / "inner" / package / "__init__.py").write_text("")
    (root / "inner" / "params.yaml").write_text("name: old\n")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    return root


def head(root: Path) -> str:
    return git(root, "rev-parse", "HEAD")


def test_the_tree_has_the_files_of_the_commit_and_the_checkout_its_own(repository: Path, tmp_path: Path) -> None:
    first, params = head(repository), repository / "inner" / "params.yaml"
    params.write_text("name: new\n")
    git(repository, "commit", "-q", "-a", "-m", "second")
    params.write_text("name: changed\n")
    with worktree.checked_out(repository / "inner", first, tmp_path / "tree") as tree:
        assert (tree / "inner" / "params.yaml").read_text() == "name: old\n"
        assert len(git(repository, "worktree", "list").splitlines()) == 2
    assert not (tmp_path / "tree").exists()
    assert len(git(repository, "worktree", "list").splitlines()) == 1
    assert params.read_text() == "name: changed\n"


def test_nothing_is_left_after_ctrl_c_and_all_of_it_when_it_is_to_be_kept(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), worktree.checked_out(repository, head(repository), tmp_path / "tree"):
        raise KeyboardInterrupt
    assert not (tmp_path / "tree").exists()
    with worktree.checked_out(repository, head(repository), tmp_path / "tree", keep=True):
        pass
    assert (tmp_path / "tree" / "inner").is_dir()
    # what a killed process left in the same place is no obstacle
    with worktree.checked_out(repository, head(repository), tmp_path / "other"):
        assert len(git(repository, "worktree", "list").splitlines()) == 3


def test_where_the_sources_are(repository: Path, tmp_path: Path) -> None:
    first = head(repository)
    assert worktree.prefix(repository / "inner") == Path("inner")
    assert worktree.prefix(repository) == Path()
    assert worktree.source_folder(repository / "inner", first) == Path("inner")
    assert worktree.source_folder(repository, first) is None  # not at the top, nor where the workspace is
    git(repository, "rm", "-q", "-r", "inner/flows")
    git(repository, "commit", "-q", "-m", "no flows")
    assert worktree.source_folder(repository / "inner", head(repository)) is None


def test_a_commit_that_is_gone(repository: Path, tmp_path: Path) -> None:
    gone = "0123456789" * 4
    assert worktree.has_commit(repository, head(repository))
    assert not worktree.has_commit(repository, gone)
    with (
        pytest.raises(NotReproducibleError, match=f"Commit {gone} cannot be checked out beside .*project"),
        worktree.checked_out(repository, gone, tmp_path / "tree"),
    ):
        pass


def test_without_a_repository_or_git(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert worktree.prefix(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert worktree.prefix(repository) is None
    with (
        pytest.raises(NotReproducibleError, match="git is not there"),
        worktree.checked_out(repository, "a", tmp_path / "t"),
    ):
        pass
