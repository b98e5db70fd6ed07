"""What a workspace keeps of a recording besides the dataset: caches, tables of runs, pages, logs, and settings.

Files that a run can make again are removed or lose her rows. Settings belong to people, so they are only pointed out.
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

import tenuto
from tenuto.errors import WorkspaceError
from tenuto.records import Record
from tenuto.tracing.erasure import databases, served
from tenuto.tracing.erasure.files import write
from tenuto.tracing.erasure.identities import Identities
from tenuto.tracing.erasure.records import Purged
from tenuto.tracing.erasure.scrub import scrubbed, table
from tenuto.workspace import Workspace

NOTICE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Withdrawn</title>
<h1>This page was withdrawn</h1>
<p>It showed recordings for which consent was withdrawn since; see erasures/{number}.json. The figures of the run are
still in MLflow.</p></html>
"""
"""What stands in place of a page that held her recordings."""

_SQLITE = frozenset({".db", ".sqlite", ".db-wal", ".db-shm", ".sqlite-wal", ".sqlite-shm", ".db-journal"})
_NAMELESS = frozenset({".safetensors", ".onnx", ".png", ".wav", ".flac", ".pyc", ".lock"})


class Mention(Record):
    """A line of a file that belongs to people and that names her."""

    file: str
    line: int
    text: str


def mentions(workspace: Workspace, who: Identities) -> tuple[Mention, ...]:
    """Where settings name her: lines that a person has to change before she can be erased."""
    found = []
    for path in _settings(workspace):
        if not path.is_file():
            continue
        shown = path.relative_to(workspace.root).as_posix()
        examples = _shipped_lines(shown)
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            if line not in examples and who.are_in(line):
                found.append(Mention(file=shown, line=number, text=line.strip()))
    return tuple(found)


def held(workspace: Workspace, who: Identities) -> dict[str, int]:
    """How many files of each kind name her, and how many clips of hers were served, for a person who asks before
    anything is done."""
    counts = Counter(_kind(workspace, path) for path in _files(workspace) if is_named_in(path, who))
    counts["served predictions"] = len(served.of(workspace.served, who))
    return dict(sorted((+counts).items()))


def purge(
    workspace: Workspace, who: Identities, known: Collection[str], clean_pages: Collection[str], number: str
) -> tuple[Purged, ...]:
    """What was taken out of the files under `.tenuto/`; databases are left to `purge_databases`.

    `known` are the ids of the clips that stay: facts of other recordings belong to nobody and go. `clean_pages` are
    the names of pages of runs that never held her; every other page is replaced by a notice.
    """
    return (
        Purged(place="facts", counts=_purge_facts(workspace, set(known))),
        Purged(place="finished trainings", counts={"folders": _remove_all(workspace.checkpoints)}),
        Purged(place="tables of runs", counts={"folders": _remove_all(workspace.runs)}),
        Purged(place="downloaded models", counts={"folders": _remove_all(workspace.served_models)}),
        Purged(place="Data Docs", counts={"folders": _remove_all(workspace.data_docs)}),
        Purged(place="audit index", counts={"files": _remove_index(workspace.audit_index)}),
        Purged(place="pages", counts={"replaced": _replace_pages(workspace, who, set(clean_pages), number)}),
        Purged(place="other files", counts=_scrub_files(workspace, who)),
    )


def purge_databases(workspace: Workspace, tracking_uri: str, who: Identities) -> tuple[Purged, ...]:
    """What was rewritten in the databases that are files here, of MLflow, Prefect and what was served; they are then
    without free pages.

    Raises WorkspaceError when one of them stays locked: the erasure is then unfinished.
    """
    done = []
    for place, path, columns in _databases(workspace, tracking_uri):
        with _unlocked(path):
            done.append(Purged(place=place, counts={"entries": databases.scrub(path, columns, who)}))
    with _unlocked(workspace.served):
        removed = served.erase(workspace.served, served.of(workspace.served, who))
        done.append(Purged(place="served predictions", counts=removed.model_dump()))
    return tuple(done)


@contextmanager
def _unlocked(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise WorkspaceError(
            f"{path} cannot be rewritten ({error}), so the erasure is not finished: end what uses it "
            "(`tenuto down`), then run `tenuto erase --yes`."
        ) from error


def left(workspace: Workspace, who: Identities) -> tuple[int, tuple[str, ...]]:
    """How many files were searched afterwards, and those in which she is named still."""
    own = (workspace.manifest, workspace.quarantine, workspace.data_dvc, workspace.holdout)
    paths = {*_files(workspace), *(path for path in own if path.is_file())}
    hits = {path.relative_to(workspace.root).as_posix() for path in paths if is_named_in(path, who)}
    hits |= {found.file for found in mentions(workspace, who)}
    if served.of(workspace.served, who):
        hits.add(workspace.served.relative_to(workspace.root).as_posix())
    return len(paths) + len(_settings(workspace)), tuple(sorted(hits))


def is_named_in(path: Path, who: Identities) -> bool:
    """True when the file names her, in a table's cells and a database's bytes too."""
    if path.suffix in _NAMELESS:
        return False
    data = path.read_bytes()
    if path.suffix == ".parquet":
        return table(data, who) is not None
    if path.suffix in _SQLITE:
        # values lie side by side in a page, so that word boundaries mean nothing
        lower = data.lower()
        words = [*who.clips, *(value for _, value in who.groups if who.is_distinctive(value))]
        return any(word.casefold().encode() in lower for word in words)
    return who.are_in(data.decode("utf-8", "replace"))


def _settings(workspace: Workspace) -> tuple[Path, ...]:
    written_by_people = (workspace.params, workspace.expectations, workspace.promotion, workspace.model_card)
    return (*written_by_people, workspace.root / "prefect.yaml")


def _shipped_lines(name: str) -> frozenset[str]:
    """The lines of a settings file as every new workspace has it: its examples name nobody."""
    shipped = Path(tenuto.__file__).with_name("templates") / "workspace" / name
    return frozenset(shipped.read_text(encoding="utf-8").splitlines()) if shipped.is_file() else frozenset()


def _databases(workspace: Workspace, tracking_uri: str) -> Iterator[tuple[str, Path, Mapping[str, tuple[str, ...]]]]:
    yield "MLflow's database", workspace.mlflow_db, databases.MLFLOW
    yield "Prefect's database", workspace.prefect_home / "prefect.db", databases.PREFECT
    prefix, _, other = tracking_uri.partition("sqlite:///")
    if not prefix and other and Path(other).resolve() != workspace.mlflow_db.resolve():
        yield "MLflow's database elsewhere", Path(other), databases.MLFLOW


def _files(workspace: Workspace) -> Iterator[Path]:
    """The files under `.tenuto/`, without the journal of the erasure itself, the ledger, which names nobody, the log of
    what was served, whose embeddings are bytes of any kind, and the code that goes with a registered model, whose
    examples have names too."""
    log = (workspace.served, *workspace.served.parent.glob(f"{workspace.served.name}-*"))
    passed_over = {workspace.erasure_journal, workspace.ledger, *log}
    for path in sorted(workspace.state.rglob("*")):
        is_code = path.is_relative_to(workspace.mlflow_artifacts) and "code" in path.parts
        if path.is_file() and not path.is_symlink() and path not in passed_over and not is_code:
            yield path


def _kind(workspace: Workspace, path: Path) -> str:
    """The folder or file in `.tenuto/` that a path belongs to."""
    parts = path.relative_to(workspace.state).parts
    return "/".join(parts[:2]) if parts[0] == "cache" else parts[0]


def _purge_facts(workspace: Workspace, known: set[str]) -> dict[str, int]:
    rows = 0
    for path in sorted((workspace.cache / "facts").rglob("*.parquet")):
        whole = pd.read_parquet(path)
        rest = whole[whole["clip_id"].isin(known)]
        if len(rest) < len(whole):
            rows += len(whole) - len(rest)
            _replace_shard(path, rest.to_parquet(compression="zstd") if len(rest) else None)
    return {"rows": rows}


def _replace_shard(path: Path, data: bytes | None) -> None:
    """A shard of `tenuto.store` is named by the hash of its bytes."""
    if data is not None:
        write(path.with_name(f"{hashlib.sha256(data).hexdigest()}.parquet"), data)
    path.unlink()


def _remove_all(folder: Path) -> int:
    there = list(folder.iterdir()) if folder.is_dir() else []
    shutil.rmtree(folder, ignore_errors=True)
    return len(there)


def _remove_index(path: Path) -> int:
    files = [path, *path.parent.glob(f"{path.name}-*")]
    there = [file for file in files if file.is_file()]
    for file in there:
        file.unlink()
    return len(there)


def _replace_pages(workspace: Workspace, who: Identities, clean: set[str], number: str) -> int:
    replaced = 0
    notice = NOTICE.format(number=number).encode()
    for path in sorted(workspace.state.rglob("*.html")):
        data = path.read_bytes()
        # the page of a run plays recordings under no name; that of an audit has names alone
        is_clean = path.name in clean or path.is_relative_to(workspace.audits)
        if data != notice and (not is_clean or who.are_in(data.decode("utf-8", "replace"))):
            write(path, notice)
            replaced += 1
    return replaced


def _scrub_files(workspace: Workspace, who: Identities) -> dict[str, int]:
    changed: Counter[str] = Counter()
    for path in _files(workspace):
        if path.suffix in _SQLITE | _NAMELESS:
            continue
        data = path.read_bytes()
        fresh = scrubbed(path.name, data, who)
        if fresh is None:
            continue
        changed[_kind(workspace, path)] += 1
        if path.stem == hashlib.sha256(data).hexdigest():
            _replace_shard(path, fresh)
        else:
            write(path, fresh)
    return dict(sorted(changed.items()))
