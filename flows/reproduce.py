"""What `tenuto reproduce` runs: code, data and parameters of a version rebuilt in a scratch folder, and run again.

The run is the real flow in a process of its own, with its own `.tenuto`, so that no embedding or checkpoint is reused
and nothing of the workspace changes. One reproduction runs at a time, in `.tenuto/reproduce`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from ruamel.yaml import YAML

from flows import servers
from tasks import reproduce as records
from tasks.reproduce import Training
from tenuto.errors import WorkspaceError
from tenuto.records import CodeVersion
from tenuto.settings import Params
from tenuto.tracing import lineage, reproduction, worktree
from tenuto.tracing.reproduction import Comparison, Made, NotReproducibleError
from tenuto.typed_yaml import read_yaml
from tenuto.workspace import Workspace

Tell = Callable[[str], None]

_STOP_SECONDS = 20.0


@dataclass(frozen=True)
class Rebuilt:
    """The scratch workspace, and the folder that its code is imported from."""

    workspace: Workspace
    code: Path
    why_not_rebuilt: str
    """Why the code is not that of the commit on record, as a clause; empty when it is."""


def reproduce(workspace: Workspace, params: Params, version: str, *, keep: bool, tell: Tell) -> Comparison:
    """How a version compares with one that is made again from the same inputs; `tell` hears what is going on.

    The scratch folder is removed in the end, whatever ends it, unless `keep`. Raises NotReproducibleError when code,
    data or parameters are gone, WorkspaceError when another reproduction runs.
    """
    with _scratch(workspace, keep=keep) as folder:
        tell("the registry")
        on_record = records.recorded(
            servers.tracking_uri(workspace, params), params.name, version, folder / "on-record"
        )
        tell("code, data and parameters")
        with rebuilt(workspace, on_record, folder / "tree", keep=keep) as scratch:
            _run_flow(scratch, folder / "flow.out", tell, on_record.made.lock)
            tell("the comparison")
            return _compared(params.name, on_record, scratch, folder, kept=folder if keep else None)


def note(workspace: Workspace, params: Params, comparison: Comparison) -> None:
    """Tags the version in the registry with what making it again came to, and when."""
    records.note(servers.tracking_uri(workspace, params), params.name, comparison)


@contextmanager
def rebuilt(workspace: Workspace, training: Training, tree: Path, *, keep: bool) -> Iterator[Rebuilt]:
    """A workspace below `tree` with what the training on record was given; its code too where git still has it."""
    commit = training.made.lineage.code.commit
    why = _why_not_rebuilt(workspace.root, commit)
    if why or commit is None:
        root = tree / workspace.root.name
        root.mkdir(parents=True)
        # the packages that run now, wherever they were imported from
        yield _furnished(workspace, training, Rebuilt(Workspace(root), Path(__file__).resolve().parents[1], why))
        return
    inside, source = worktree.prefix(workspace.root), worktree.source_folder(workspace.root, commit)
    assert inside is not None and source is not None
    with worktree.checked_out(workspace.root, commit, tree, keep=keep):
        root = tree / inside
        root.mkdir(parents=True, exist_ok=True)
        yield _furnished(workspace, training, Rebuilt(Workspace(root), tree / source, ""))


def _why_not_rebuilt(root: Path, commit: str | None) -> str:
    if commit is None:
        return "no commit is on record"
    if worktree.prefix(root) is None:
        return "the workspace is in no git repository"
    if not worktree.has_commit(root, commit):
        return f"commit {commit[:12]} is gone from this repository"
    if worktree.source_folder(root, commit) is None:
        return "Tenuto is an installed package here, and the workspace's repository holds no source"
    return ""


def _furnished(workspace: Workspace, training: Training, scratch: Rebuilt) -> Rebuilt:
    """The scratch workspace with settings, dataset version and backbone of the training on record in place."""
    for name, path in lineage.input_files(scratch.workspace).items():
        path.unlink(missing_ok=True)
        if (training.inputs / name).is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(training.inputs / name, path)
    yaml = YAML(typ="safe", pure=True)
    # its own MLflow, wherever the workspace's is
    settings = read_yaml(scratch.workspace.params) | {"tracking_uri": None}
    yaml.dump(settings, scratch.workspace.params)
    yaml.dump(records.decisive(scratch.workspace.promotion), scratch.workspace.promotion)
    records.share_dataset(workspace, scratch.workspace)
    backbone = Path(str(settings["backbone"]))
    here, there = workspace.root / backbone, scratch.workspace.root / backbone
    if here.is_dir() and not there.exists():
        there.parent.mkdir(parents=True, exist_ok=True)
        there.symlink_to(here, target_is_directory=True)
    return scratch


@contextmanager
def _scratch(workspace: Workspace, *, keep: bool) -> Iterator[Path]:
    """An empty folder that no other reproduction uses; what a killed one left there, or `--keep`, goes first."""
    folder = workspace.state / "reproduce"
    workspace.state.mkdir(exist_ok=True)
    try:
        alone = FileLock(workspace.state / "reproduce.lock").acquire(timeout=0)
    except Timeout:
        raise WorkspaceError(f"{workspace.root} is reproducing a version already; wait for it.") from None
    with alone:
        shutil.rmtree(folder, ignore_errors=True)
        worktree.prune(workspace.root)
        folder.mkdir()
        try:
            yield folder
        finally:
            if not keep:
                shutil.rmtree(folder, ignore_errors=True)


def _run_flow(scratch: Rebuilt, output: Path, tell: Tell, lock: Mapping[str, str]) -> None:
    """Runs the retrain flow in the scratch workspace; its finished stages are told.

    Raises NotReproducibleError with the flow's own message when it fails, and the packages that are not as in `lock`.
    """
    with output.open("w+b") as stdout:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "retrain", "--force", "--json"],
            cwd=scratch.workspace.root,
            env=_environment(scratch),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            # Ctrl-C is passed on below, so that its servers are ended in order
            start_new_session=True,
        )
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if line.strip():
                    tell(line.strip())
            code = process.wait()
        finally:
            _end(process)
            process.stderr.close()
    if code not in (0, 2):
        raise NotReproducibleError(f"The rebuilt run failed: {_message(output, code)}{_other_packages(lock)}")


def _environment(scratch: Rebuilt) -> dict[str, str]:
    """That of this process, with the scratch workspace's code, its own MLflow store and its own Prefect home."""
    own = {"PYTHONPATH": str(scratch.code), "PREFECT_HOME": str(scratch.workspace.prefect_home)}
    return {name: value for name, value in (os.environ | own).items() if name != "MLFLOW_TRACKING_URI"}


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _message(output: Path, code: int) -> str:
    """What the flow's last line of output gives as its error."""
    try:
        return str(json.loads(output.read_text(encoding="utf-8").splitlines()[-1])["error"])
    except (IndexError, ValueError, KeyError, TypeError):
        return f"it ended with exit code {code}."


def _other_packages(lock: Mapping[str, str]) -> str:
    rows = reproduction.packages(lock, lineage.locked(lineage.environment_lock()))
    other = [
        f"{row.name} {row.now or 'is absent'} ({row.recorded or 'absent'} then)" for row in rows if row.same is False
    ]
    return f" Packages differ from those on record: {', '.join(other)}." if other else ""


def _compared(name: str, on_record: Training, scratch: Rebuilt, folder: Path, *, kept: Path | None) -> Comparison:
    store = servers.own_store(scratch.workspace)
    again = records.made_again(scratch.workspace, store, name, folder / "again")
    answers, now, made = on_record.answers(), again.answers(), again.made
    if list(answers["clip_id"]) != list(now["clip_id"]):
        now, metrics = records.rescored(again, answers, scratch.workspace.data)
        made = made.model_copy(update={"metrics": metrics})
    difference, clips = reproduction.probability_difference(answers, now)
    found = reproduction.compare(
        name,
        on_record.version,
        on_record.made,
        _with_code(made, scratch),
        weight_difference=reproduction.weight_difference(on_record.checkpoint, again.checkpoint),
        probability_difference=difference,
        clips=clips,
    )
    why = f"The code was not rebuilt from its commit ({scratch.why_not_rebuilt}); the present one ran."
    notes = [text for text in (why if scratch.why_not_rebuilt else "", found.note) if text]
    return found.model_copy(update={"note": " ".join(notes), "kept": kept})


def _with_code(made: Made, scratch: Rebuilt) -> Made:
    """Without a commit where none was checked out: the repository around the scratch folder is not the code's."""
    if not scratch.why_not_rebuilt:
        return made
    unknown = CodeVersion(commit=None, branch=None)
    return made.model_copy(update={"lineage": made.lineage.model_copy(update={"code": unknown})})
