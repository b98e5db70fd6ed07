"""A commit of a repository checked out in a scratch folder beside the user's own checkout, which stays as it is."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tenuto.tracing.lineage import SOURCE_PACKAGES
from tenuto.tracing.reproduction import NotReproducibleError


def prefix(root: Path) -> Path | None:
    """Where `root` lies in its repository, `.` at the top; None without git or a repository."""
    found = _git(root, "rev-parse", "--show-prefix")
    return None if found is None else Path(found.strip() or ".")


def has_commit(root: Path, commit: str) -> bool:
    """True when the repository that holds `root` still has the commit."""
    return _git(root, "cat-file", "-e", f"{commit}^{{commit}}") is not None


def source_folder(root: Path, commit: str) -> Path | None:
    """The folder, relative to the repository, in which `commit` has the packages tenuto, tasks and flows; else None."""
    inside = prefix(root)
    for folder in dict.fromkeys((inside, Path())) if inside is not None else ():
        assert folder is not None
        wanted = [f"{commit}:{(folder / package / '__init__.py').as_posix()}" for package in SOURCE_PACKAGES]
        if all(_git(root, "cat-file", "-e", name) is not None for name in wanted):
            return folder
    return None


@contextmanager
def checked_out(root: Path, commit: str, tree: Path, *, keep: bool = False) -> Iterator[Path]:
    """The folder `tree` with the files of `commit`; gone again at the end, whatever ends it, unless `keep`.

    Raises NotReproducibleError when git cannot check the commit out.
    """
    prune(root)
    tree.parent.mkdir(parents=True, exist_ok=True)
    try:
        # the user's hooks are not for scratch folders
        add = ("-c", "core.hooksPath=/dev/null", "worktree", "add", "--detach", "--force", str(tree), commit)
        done = _run(root, *add)
        if done is None or done.returncode:
            why = " ".join(done.stderr.decode(errors="replace").split()) if done else "git is not there"
            raise NotReproducibleError(f"Commit {commit} cannot be checked out beside {root}: {why}.")
        yield tree
    finally:
        if not keep:
            shutil.rmtree(tree, ignore_errors=True)
            prune(root)


def prune(root: Path) -> None:
    """Makes git forget worktrees whose folders are gone."""
    _git(root, "worktree", "prune")


def _git(root: Path, *arguments: str) -> str | None:
    done = _run(root, *arguments)
    return done.stdout.decode("utf-8", "backslashreplace") if done and done.returncode == 0 else None


def _run(root: Path, *arguments: str) -> subprocess.CompletedProcess[bytes] | None:
    try:
        return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, check=False)
    except OSError:
        return None
