"""Adding recordings to the dataset: what `tenuto data add`, `check` and `starter` run.

These are plain functions and not Prefect flows: a person waits at the terminal, and starting an orchestration server
would take longer than the work.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from flows import servers
from flows.job import stops
from tasks import dataset, registry, track, validate
from tenuto import holdout, ingest, manifest, splits, starter
from tenuto.errors import DatasetError
from tenuto.records import AddResult, Quarantined, ValidationReport
from tenuto.settings import Params
from tenuto.workspace import Workspace

Progress = Callable[[int, int], None]


def add(
    workspace: Workspace,
    params: Params,
    source: Path,
    *,
    pattern: str | None = None,
    on_progress: Progress | None = None,
) -> AddResult:
    """What was added, after the recordings in `source` are in `data/` and `data.dvc` names the new dataset version."""
    with workspace.exclusive("data add"):
        if workspace.data_dvc.is_file():
            dataset.fetch.fn(workspace.root)
        result = ingest.add(
            source, workspace.data, workspace.cache, params.data, pattern=pattern, on_progress=on_progress
        )
        if not workspace.manifest.is_file():
            raise DatasetError(_nothing_usable(source, result.quarantined))
        version = dataset.record.fn(workspace.root, push=params.data.upload)
    return AddResult(added=result.added, unchanged=result.unchanged, quarantined=result.quarantined, md5=version.md5)


def check(
    workspace: Workspace,
    params: Params,
    source: Path,
    *,
    pattern: str | None = None,
    on_progress: Progress | None = None,
) -> AddResult:
    """What `add` would do; writes nothing."""
    result = ingest.check(
        source, workspace.data, workspace.cache, params.data, pattern=pattern, on_progress=on_progress
    )
    return AddResult(added=result.added, unchanged=result.unchanged, quarantined=result.quarantined, md5="")


def check_dataset(workspace: Workspace, params: Params) -> tuple[ValidationReport, tuple[str, ...]]:
    """How the present dataset version meets expectations.yaml, as a retrain finds it, and why one would stop there."""
    tracking_uri = servers.tracking_uri(workspace, params)
    with workspace.exclusive("data check"), tempfile.TemporaryDirectory(prefix="tenuto-check-") as folder:
        version = dataset.fetch.fn(workspace.root)
        table = Path(folder) / "clips.parquet"
        clips = splits.assign(manifest.read(version.manifest_path), params.split, holdout.read(workspace.holdout))
        clips.to_parquet(table, index=False)
        champion = registry.champion.fn(tracking_uri, params.name, workspace.cache, workspace.ledger)
        report = validate.validate.fn(
            table,
            workspace.quarantine,
            workspace.expectations,
            track.last_trained_clips(tracking_uri, params.name, workspace.cache),
            champion.clips_path if champion else None,
            workspace.data_docs,
            has_champion=champion is not None,
        )
    return report, stops(report, version, params)


def add_starter(workspace: Workspace, params: Params, *, on_progress: Progress | None = None) -> AddResult:
    """The starter set, spoken again by espeak-ng and added like any other source."""
    with tempfile.TemporaryDirectory(prefix="tenuto-starter-") as folder:
        table = starter.make(Path(folder), on_progress=on_progress)
        return add(workspace, params, table, on_progress=on_progress)


def _nothing_usable(source: Path, quarantined: tuple[Quarantined, ...]) -> str:
    first = "; ".join(f"{q.path}: {q.reason}, {q.detail}" for q in quarantined[:3])
    return f"{source} holds {len(quarantined)} recordings and none of them can be used ({first}); nothing was added."
