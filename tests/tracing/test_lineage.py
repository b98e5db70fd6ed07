"""The commit, the changed files, the versions and the hash of the code."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tenuto.records import CodeVersion, DatasetVersion
from tenuto.tracing import lineage


def git(root: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=trunk")
    command = ["git", *identity, "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "params.yaml").write_text("name: a\n")
    (tmp_path / ".gitignore").write_text("ignored\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_a_clean_checkout(repository: Path) -> None:
    (repository / "ignored").write_text("x")
    commit = git(repository, "rev-parse", "HEAD")
    assert lineage.code_version(repository) == CodeVersion(commit=commit, branch="trunk", dirty_files=())


def test_changed_added_and_oddly_named_files_are_dirty(repository: Path) -> None:
    (repository / "params.yaml").write_text("name: b\n")
    (repository / "new folder").mkdir()
    (repository / "new folder" / "ä \n.txt").write_text("x")
    assert lineage.code_version(repository).dirty_files == ("new folder/ä \n.txt", "params.yaml")


def test_a_detached_head_has_no_branch(repository: Path) -> None:
    git(repository, "checkout", "-q", "--detach")
    version = lineage.code_version(repository)
    assert version.branch is None
    assert version.commit == git(repository, "rev-parse", "HEAD")


def test_before_the_first_commit_there_is_a_branch_and_no_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert lineage.code_version(tmp_path) == CodeVersion(commit=None, branch="trunk")


def test_neither_a_repository_nor_git_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = CodeVersion(commit=None, branch=None)
    assert lineage.code_version(tmp_path) == unknown
    monkeypatch.setenv("PATH", str(tmp_path))
    assert lineage.code_version(tmp_path) == unknown


def test_the_environment_names_what_results_depend_on() -> None:
    versions = lineage.environment()
    known = {"python", "platform", "processor", "tenuto", "torch", "transformers", "mlflow", "prefect"}
    assert known <= versions.keys()
    assert versions["processor"]
    assert versions["torch"].startswith("2.")
    assert "pytest" not in versions  # an extra


def test_the_lock_names_every_installed_package_once() -> None:
    lines = lineage.environment_lock().splitlines()
    names = [line.partition("==")[0] for line in lines]
    assert names == sorted(set(names))
    assert f"torch=={lineage.environment()['torch']}" in lines
    assert any(line.startswith("pytest==") for line in lines)  # extras too


def test_the_source_hash_follows_content_and_name_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "imaginary"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(lineage, "SOURCE_PACKAGES", ("imaginary", "missing"))

    def now() -> str:
        lineage.source_sha256.cache_clear()
        return lineage.source_sha256()

    first = now()
    (package / "notes.pyc").write_text("not source")
    assert now() == first
    (package / "a.py").write_text("x = 2\n")
    second = now()
    (package / "a.py").rename(package / "b.py")
    third = now()
    assert len({first, second, third}) == 3
    lineage.source_sha256.cache_clear()


def test_tags_leave_out_what_is_unknown() -> None:
    made_from = lineage.Lineage(
        dataset=DatasetVersion(md5="d41d8", manifest_path=Path("m.parquet"), clips=7, quarantined=1),
        code=CodeVersion(commit="abc", branch=None, dirty_files=("a",)),
        inputs="1234",
        source_sha256="5678",
        environment={},
    )
    assert made_from.tags() == {
        "tenuto.dataset_md5": "d41d8",
        "tenuto.dataset_clips": "7",
        "tenuto.inputs": "1234",
        "tenuto.source_sha256": "5678",
        "tenuto.git_commit": "abc",
        "tenuto.git_dirty": "true",
    }
