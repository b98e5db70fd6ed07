"""Where recordings lie besides the runs: dataset versions in git and in DVC's cache, and the caches of this workspace.

Reads what git and DVC have written, without either library: an answer is wanted in a second. A dataset version is a
JSON list of files in DVC's cache, and one of the files is the manifest.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from tenuto.records import GROUP_PREFIX, Record
from tenuto.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

_MD5 = re.compile(r"^\s*-?\s*md5:\s*([0-9a-f]{32}\.dir)\s*$", re.MULTILINE)
_GIT_SECONDS = 20
_INDEX_COLUMN = "__index_level_0__"
"""What pandas calls the index of a table without a name of its own."""


class Committed(Record):
    """One dataset version as git's history of data.dvc names it first."""

    md5: str
    commit: str | None = Field(default=None, description="None for the present data.dvc when it is not committed")
    at: datetime | None = None


class Cached(Record):
    """Rows of one cache that were computed from the clips asked for."""

    kind: str = Field(description="'embeddings' or 'facts'")
    key: str = Field(description="the folder's name")
    backbone: str | None = Field(default=None, description="whose embeddings they are, when a registered version tells")
    rows: int = Field(description="of augmented copies too")


def present(workspace: Workspace) -> str | None:
    """The md5 that data.dvc names now; None without one."""
    if not workspace.data_dvc.is_file():
        return None
    return _md5(workspace.data_dvc.read_text(encoding="utf-8", errors="replace"))


def history(workspace: Workspace) -> list[Committed]:
    """The dataset versions of git's history of data.dvc, the oldest first; none without git or before a commit."""
    log = _git(workspace.root, "log", "--reverse", "--format=%H %cI", "--", "data.dvc")
    commits = [line.split(" ", 1) for line in log.splitlines()]
    texts = _shown(workspace.root, [commit for commit, _ in commits])
    found: dict[str, Committed] = {}
    for (commit, at), text in zip(commits, texts, strict=True):
        if md5 := _md5(text):
            found.setdefault(md5, Committed(md5=md5, commit=commit, at=datetime.fromisoformat(at)))
    return list(found.values())


def manifest_of(workspace: Workspace, md5: str) -> Path | None:
    """The manifest of a dataset version: in data/ when it is the present one, else in DVC's cache; None if nowhere."""
    if md5 == present(workspace) and workspace.manifest.is_file():
        return workspace.manifest
    listing = _in_cache(workspace, md5)
    if listing is None:
        return None
    try:
        files = {entry["relpath"]: entry["md5"] for entry in json.loads(listing.read_text(encoding="utf-8"))}
    except (ValueError, KeyError, TypeError):
        return None
    return _in_cache(workspace, files.get(workspace.manifest.name, ""))


def clip_ids(path: Path, *, group: tuple[str, str] | None = None, source: str | None = None) -> set[str]:
    """The clips of a manifest that are of a group, or came from a source file; all of them for neither.

    Empty when it is damaged or has no such group.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    columns = ["clip_id", "source"] if group is None else ["clip_id", GROUP_PREFIX + group[0]]
    try:
        table: pa.Table = pq.read_table(path, columns=columns, partitioning=None)
    except (pa.ArrowException, OSError):
        return set()
    if table.num_columns < len(columns):
        return set()
    if group is not None:
        table = table.filter(pc.equal(table[columns[1]], group[1]))
    if source is not None:
        ends = pc.ends_with(table["source"], "/" + source)
        table = table.filter(pc.or_(ends, pc.equal(table["source"], source)))
    return set(table["clip_id"].to_pylist())


def group_values(path: Path) -> list[tuple[str, str]]:
    """The groups of a manifest's clips, as (name, value)."""
    import pyarrow.parquet as pq

    names = [name for name in pq.read_schema(path).names if name.startswith(GROUP_PREFIX)]
    table = pq.read_table(path, columns=names, partitioning=None)
    values = ((name, value) for name in names for value in table[name].unique().to_pylist())
    return [(name.removeprefix(GROUP_PREFIX), str(value)) for name, value in values if value]


def cached(cache: Path, ids: Collection[str], backbones: Mapping[str, str]) -> list[Cached]:
    """What the workspace's cache holds of the clips; `backbones` are names by the store key of their embeddings."""
    found = []
    wanted = frozenset(ids)
    for kind, column in (("embeddings", _INDEX_COLUMN), ("facts", "clip_id")):
        for folder in sorted((cache / kind).glob("*")):
            names = {name for path in sorted(folder.glob("*.parquet")) for name in _column(path, column)}
            # a copy of a clip is named after it: ID-DRAW
            rows = sum(name.partition("-")[0] in wanted for name in names)
            if rows:
                backbone = backbones.get(folder.name)
                found.append(Cached(kind=kind, key=folder.name, backbone=backbone, rows=rows))
    return found


def embedding_key(backbone_revision: str, preprocessing_sha256: str) -> str:
    """The store key of a backbone's embeddings, as `embedding.Encoder.key` makes it."""
    return hashlib.sha256(f"{backbone_revision} {preprocessing_sha256}".encode()).hexdigest()[:32]


def _column(path: Path, column: str) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table: Any = pq.read_table(path, columns=[column], partitioning=None)
    except (pa.ArrowException, OSError):
        return []
    return [str(name) for name in table[column].to_pylist()] if column in table.column_names else []


def _md5(text: str) -> str | None:
    found = _MD5.search(text)
    return found[1] if found else None


def _in_cache(workspace: Workspace, md5: str) -> Path | None:
    for files in _caches(workspace.root):
        path = files / md5[:2] / md5[2:]
        if md5 and path.is_file():
            return path
    return None


def _caches(root: Path) -> Iterator[Path]:
    """DVC's cache of the workspace, and its starter remote, which has the same layout."""
    yield root / ".dvc" / "cache" / "files" / "md5"
    yield root / ".dvc" / "remote" / "files" / "md5"
    yield root / ".dvc" / "starter" / "files" / "md5"


def _shown(root: Path, commits: list[str]) -> list[str]:
    """data.dvc as it was at each commit, '' where it was not there; one call of git for all."""
    done = _run(root, ["cat-file", "--batch"], "".join(f"{commit}:./data.dvc\n" for commit in commits).encode())
    texts: list[str] = []
    while done and len(texts) < len(commits):
        head, _, done = done.partition(b"\n")
        if head.endswith(b" missing"):
            texts.append("")
            continue
        size = int(head.rsplit(b" ", 1)[1])
        texts.append(done[:size].decode("utf-8", "replace"))
        done = done[size + 1 :]
    return texts + [""] * (len(commits) - len(texts))


def _git(root: Path, *arguments: str) -> str:
    return _run(root, list(arguments)).decode("utf-8", "replace")


def _run(root: Path, arguments: list[str], stdin: bytes = b"") -> bytes:
    """What git says; nothing when it cannot say it."""
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=_GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout if done.returncode == 0 else b""
