"""What made a result: the commit, the files that differ from it, the package versions and the code itself.

Apart from the records, because a run asks for these once, at its start, and every store of results (registry, report,
caches keyed by code) repeats them.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import platform
import re
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from pydantic import Field

from tenuto.records import CodeVersion, DatasetVersion, Record
from tenuto.workspace import Workspace

CLIPS = "lineage/clips.parquet"
"""Where a run keeps its clips table: reference for drift, and what a champion is known to have trained on."""

INPUTS = "inputs"
"""The folder where a run keeps what it was given: `input_files`, and LOCK."""

LOCK = "environment.lock"

APPLIED = "applied."
"""Begins the name of a parameter that a run chose itself; the rest is the setting's key."""

SOURCE_PACKAGES = ("tenuto", "tasks", "flows")
_VECTOR_INSTRUCTIONS = ("avx512f", "avx2", "avx", "asimd", "sse4_2")
_SOURCE_SUFFIXES = frozenset({".py", ".j2", ".css", ".js", ".yaml", ".html"})


class Lineage(Record):
    """What one run was made from; the tracked run and the registered version repeat it as tags."""

    dataset: DatasetVersion
    code: CodeVersion
    inputs: str = Field(description="hash of everything that decides what the run comes to")
    source_sha256: str
    environment: dict[str, str]
    prefect_run: str | None = None

    def tags(self) -> dict[str, str]:
        """The lineage as text, one value per tag; what is unknown is left out."""
        values = {
            "tenuto.dataset_md5": self.dataset.md5,
            "tenuto.dataset_clips": str(self.dataset.clips),
            "tenuto.inputs": self.inputs,
            "tenuto.source_sha256": self.source_sha256,
            "tenuto.git_commit": self.code.commit,
            "tenuto.git_branch": self.code.branch,
            "tenuto.git_dirty": str(bool(self.code.dirty_files)).lower() if self.code.commit else None,
            "tenuto.prefect_run": self.prefect_run,
        }
        return {name: value for name, value in values.items() if value}


def code_version(root: Path) -> CodeVersion:
    """The commit that is checked out at `root`, its branch, and the files that differ from it.

    Ignored files do not count; untracked ones do. Without git, without a repository or before the first commit the
    commit is None. A detached HEAD has no branch.
    """
    commit = _git(root, "rev-parse", "--verify", "HEAD")
    branch = _git(root, "symbolic-ref", "--short", "HEAD")
    status = _git(root, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", ".") or ""
    dirty = sorted(entry[3:] for entry in status.split("\0") if entry)
    return CodeVersion(
        commit=commit.strip() if commit else None,
        branch=branch.strip() if branch else None,
        dirty_files=tuple(dirty),
    )


def environment() -> dict[str, str]:
    """The versions that results depend on: Python, platform, processor, Tenuto and what Tenuto requires directly."""
    versions = {"python": platform.python_version(), "platform": platform.platform(), "processor": processor()}
    return versions | {name: importlib.metadata.version(name) for name in _installed_requirements()}


def environment_lock() -> str:
    """Every installed package as `name==version`, a line each in the order of their names, as `pip freeze` has it."""
    found = {str(at.metadata["Name"]).lower(): at.version for at in importlib.metadata.distributions()}
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items()))


def locked(text: str) -> dict[str, str]:
    """The version per package in the text of an `environment_lock`."""
    return {name: version for name, _, version in (line.partition("==") for line in text.splitlines())}


@cache
def processor() -> str:
    """The processor's name and its widest vector instructions, which decide how sums of floats are rounded."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    has = set((facts.get("flags") or facts.get("Features") or "").split())
    widest = next((name for name in _VECTOR_INSTRUCTIONS if name in has), "")
    return ", ".join(part for part in (facts.get("model name") or platform.machine(), widest) if part)


def input_files(workspace: Workspace) -> dict[str, Path]:
    """The files besides code and data that decide what a run comes to, by the name that a run keeps them under."""
    return {
        "params.yaml": workspace.params,
        "promotion.yaml": workspace.promotion,
        "expectations.yaml": workspace.expectations,
        "holdout.yaml": workspace.holdout,
        "model-card.md.j2": workspace.model_card,
        "data.dvc": workspace.data_dvc,
    }


@cache
def source_sha256() -> str:
    """A sha256 over the source files of the installed packages tenuto, tasks and flows, by path and content."""
    total = hashlib.sha256()
    for package in SOURCE_PACKAGES:
        for path in _source_files(package):
            total.update(f"{package}/{path[0]}\0".encode())
            total.update(hashlib.sha256(path[1].read_bytes()).digest())
    return total.hexdigest()


def _git(root: Path, *arguments: str) -> str | None:
    # an index refreshed by `status` would be a write, and could collide with the user's own git
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    # file names may be no UTF-8
    return done.stdout.decode("utf-8", "backslashreplace") if done.returncode == 0 else None


def _installed_requirements() -> list[str]:
    try:
        requirements = importlib.metadata.requires("tenuto") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    names = {re.split(r"[^A-Za-z0-9_.-]", text, maxsplit=1)[0] for text in requirements if "extra ==" not in text}
    return sorted(name for name in names | {"tenuto"} if _is_installed(name))


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _source_files(package: str) -> list[tuple[str, Path]]:
    spec = importlib.util.find_spec(package)
    folders = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    files = [(path.relative_to(folder).as_posix(), path) for folder in folders for path in folder.rglob("*")]
    return sorted((name, path) for name, path in files if path.suffix in _SOURCE_SUFFIXES and path.is_file())


def as_applied(parameters: Mapping[str, str]) -> dict[str, str]:
    """The parameters of a run in MLflow, each setting that the run itself chose in the place of what params.yaml says.

    `APPLIED` marks those: parameters that are logged once cannot be changed.
    """
    chosen = {k.removeprefix(APPLIED): v for k, v in parameters.items() if k.startswith(APPLIED)}
    return {k: v for k, v in parameters.items() if not k.startswith(APPLIED)} | chosen
