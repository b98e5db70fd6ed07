"""Dataset versions in git's history and DVC's cache, and rows of the workspace's caches, written here by hand."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from tenuto.store import ClipStore
from tenuto.tracing.audit import places
from tenuto.workspace import Workspace

A, B, C = "a" * 32, "b" * 32, "c" * 32


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A git repository with data.dvc at two commits, of which DVC's cache has the manifest of the first."""
    run(tmp_path, "init", "--quiet")
    for number, md5 in enumerate((A, B)):
        (tmp_path / "data.dvc").write_text(f"outs:\n- md5: {md5}.dir\n  size: {number}\n  path: data\n")
        run(tmp_path, "add", "data.dvc")
        run(tmp_path, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "-m", md5)
    listing = [{"md5": C, "relpath": "manifest.parquet"}, {"md5": B, "relpath": "clips/00/00.wav"}]
    write(tmp_path / ".dvc/cache/files/md5" / A[:2] / f"{A[2:]}.dir", json.dumps(listing).encode())
    table = {"clip_id": ["1", "2"], "source": ["x/one.wav", "two.wav"], "group_speaker": ["ann", "ben"]}
    place = tmp_path / ".dvc/cache/files/md5" / C[:2] / C[2:]
    place.parent.mkdir(parents=True)
    pd.DataFrame(table).to_parquet(place)
    return Workspace(tmp_path)


def run(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True)


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(data)


def test_history_has_each_version_with_its_first_commit(workspace: Workspace) -> None:
    found = places.history(workspace)
    assert [version.md5 for version in found] == [f"{A}.dir", f"{B}.dir"]
    assert all(version.commit and version.at for version in found)
    assert places.present(workspace) == f"{B}.dir"


def test_a_commit_without_data_dvc_is_passed_over(workspace: Workspace) -> None:
    run(workspace.root, "rm", "--quiet", "data.dvc")
    run(workspace.root, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "-m", "gone")
    assert len(places.history(workspace)) == 2
    assert places.present(workspace) is None


def test_without_git_there_is_no_history(tmp_path: Path) -> None:
    assert places.history(Workspace(tmp_path)) == []


def test_a_manifest_is_read_from_the_cache_of_dvc(workspace: Workspace) -> None:
    path = places.manifest_of(workspace, f"{A}.dir")
    assert path is not None and places.manifest_of(workspace, f"{B}.dir") is None
    assert places.clip_ids(path) == {"1", "2"}
    assert places.clip_ids(path, group=("speaker", "ann")) == {"1"}
    assert places.clip_ids(path, group=("site", "ann")) == set()
    assert places.clip_ids(path, source="one.wav") == {"1"} == places.clip_ids(path, source="x/one.wav")
    assert places.clip_ids(path, source="ne.wav") == set()
    assert places.group_values(path) == [("speaker", "ann"), ("speaker", "ben")]


def test_damaged_tables_hold_nothing(workspace: Workspace) -> None:
    (workspace.root / ".dvc/cache/files/md5" / C[:2] / C[2:]).write_bytes(b"no table")
    path = places.manifest_of(workspace, f"{A}.dir")
    assert path is not None and places.clip_ids(path) == set()


def test_cached_rows_are_counted_copies_included(tmp_path: Path) -> None:
    key = places.embedding_key("revision", "preprocessing")
    table = pd.DataFrame({"embedding": [[0.0]] * 4}, index=[A, f"{A}-0011", f"{A}-0022", B])
    ClipStore(tmp_path, "embeddings", key).add(table)
    ClipStore(tmp_path, "facts", "v1").add(pd.DataFrame({"clip_id": [A, B]}, index=["file 1", "file 2"]))
    found = places.cached(tmp_path, [A], {key: "speech-embedding"})
    assert [(c.kind, c.key, c.backbone, c.rows) for c in found] == [
        ("embeddings", key, "speech-embedding", 3),
        ("facts", "v1", None, 1),
    ]
    assert places.cached(tmp_path, [C], {}) == [] == places.cached(tmp_path / "none", [A], {})


def test_the_store_key_is_that_of_the_encoder() -> None:
    from tenuto.learning.embedding import Encoder

    class Named:
        sha256 = "preprocessing"

    assert places.embedding_key("revision", "preprocessing") == Encoder(None, Named(), "revision").key  # type: ignore[arg-type]
