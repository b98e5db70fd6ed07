"""Recordings into the dataset and out of it: what `tenuto data add`, `remove`, `check` and `starter` run.

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
from tenuto.dataset import ingest, manifest, starter
from tenuto.dataset.ingest import IngestResult
from tenuto.errors import DatasetError
from tenuto.records import AddResult, ValidationReport
from tenuto.settings import Params
from tenuto.splitting import holdout, splits
from tenuto.tracing.erasure.records import require_finished
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
        require_finished(workspace.erasure_journal)
        if workspace.data_dvc.is_file():
            dataset.fetch.fn(workspace.root)
        result = ingest.add(
            source, workspace.data, workspace.cache, params.data, pattern=pattern, on_progress=on_progress
        )
        if not workspace.manifest.is_file():
            raise DatasetError(_nothing_usable(source, result))
        version = dataset.record.fn(workspace.root, push=params.data.upload)
    return _shown(result, version.md5)


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
    return _shown(result, md5="")


def check_dataset(workspace: Workspace, params: Params) -> tuple[ValidationReport, tuple[str, ...]]:
    """How the present dataset version meets expectations.yaml, as a retrain finds it, and why one would stop there."""
    tracking_uri = servers.tracking_uri(workspace, params)
    with workspace.exclusive("data check"), tempfile.TemporaryDirectory(prefix="tenuto-check-") as folder:
        version = dataset.fetch.fn(workspace.root)
        table = Path(folder) / "clips.parquet"
        clips = splits.assign(
            manifest.read(version.manifest_path), params.split, holdout.read(workspace.holdout), kind=params.data.labels
        )
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
            kind=params.data.labels,
        )
    return report, stops(report, version, params)


def add_starter(workspace: Workspace, params: Params, *, on_progress: Progress | None = None) -> AddResult:
    """The starter set, spoken again by espeak-ng and added like any other source."""
    with tempfile.TemporaryDirectory(prefix="tenuto-starter-") as folder:
        table = starter.make(Path(folder), on_progress=on_progress)
        return add(workspace, params, table, on_progress=on_progress)


def _shown(result: IngestResult, md5: str) -> AddResult:
    return AddResult(
        added=result.added,
        unchanged=result.unchanged,
        quarantined=result.quarantined,
        md5=md5,
        refused=result.refused,
    )


def _nothing_usable(source: Path, result: IngestResult) -> str:
    refused = sum(result.refused.values())
    why = [f"{q.path}: {q.reason}, {q.detail}" for q in result.quarantined[:3]]
    why += [f"{refused} refused since consent was withdrawn, see erasures/"] if refused else []
    count = len(result.quarantined) + refused
    return f"{source} holds {count} recordings and none of them can be used ({'; '.join(why)}); nothing was added."
