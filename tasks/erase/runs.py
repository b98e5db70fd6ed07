"""Somebody's recordings in MLflow: which runs and versions held them, and what is taken out of them there.

Everything goes through MLflow's own client, so that a server and its bucket are reached as a file is. The run's figures
stay: they are sums over many clips. Weights that heard her stay too, under a tag that says so.
"""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pandas as pd

from tasks import store
from tenuto.serving.hearing.bundle import FOLDER_NAME, REFERENCE_NAME
from tenuto.tracing import lineage
from tenuto.tracing.erasure import dataset
from tenuto.tracing.erasure.identities import Identities
from tenuto.tracing.erasure.records import ROLES, Purged, Role, Trace
from tenuto.tracing.erasure.scrub import scrubbed
from tenuto.tracing.erasure.traces import NOTICE

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

log = logging.getLogger(__name__)

TAG = "tenuto.erased"
"""On runs and versions whose recordings were erased: the numbers of the certificates."""

_MODEL_ID = "tenuto.model_id"
_FREE_TEXT_TAGS = ("mlflow.note.content", "mlflow.runName")
_OUR_TAGS = "tenuto."
_KEPT_FOLDERS = ("plots", "model")
_PAGES = ".html"


def known_clips(tracking_uri: str, name: str) -> Iterator[pd.DataFrame]:
    """The clips tables of the runs of `name`, newest first; runs without one are passed over."""
    client = store.connect(tracking_uri)
    for run in _runs(client, name):
        table = _clips(client, run)
        if table is not None:
            yield table


def traces(tracking_uri: str, name: str, who: Identities) -> tuple[tuple[Trace, ...], tuple[str, ...]]:
    """The runs of `name` whose clips tables hold her, oldest first, and the names of the pages of all other runs."""
    client = store.connect(tracking_uri)
    versions = {version.run_id: version for version in store.versions(client, name)}
    aliases = store.aliases(client, name)
    found, clean = [], []
    for run in _runs(client, name):
        clips = _roles(client, run, who)
        if not clips:
            clean += [PurePosixPath(path).name for path in _files(client, run.info.run_id, "report")]
            continue
        version = versions.get(run.info.run_id)
        number = str(version.version) if version else None
        found.append(
            Trace(
                run=run.info.run_id,
                version=number,
                aliases=tuple(sorted(alias for alias, at in aliases.items() if at == number)),
                clips=clips,
                prefect_run=run.data.tags.get("tenuto.prefect_run"),
            )
        )
    return tuple(reversed(found)), tuple(clean)


def tag(tracking_uri: str, name: str, affected: Collection[Trace], number: str) -> None:
    """Leaves the certificate's number on the runs that held her, and on the versions that heard her."""
    client = store.connect(tracking_uri)
    versions = {str(version.version): version for version in store.versions(client, name)}
    for trace in affected:
        run = client.get_run(trace.run)
        # MLflow lets nothing be written on a run in its bin
        if run.info.lifecycle_stage == "active":
            client.set_tag(trace.run, TAG, _added(run.data.tags.get(TAG), number))
        if trace.heard and trace.version in versions:
            tags = versions[trace.version].tags
            client.set_model_version_tag(name, trace.version, TAG, _added(tags.get(TAG), number))


def purge(
    tracking_uri: str,
    name: str,
    who: Identities,
    affected: Collection[Trace],
    number: str,
    *,
    has_file_here: bool,
) -> Purged:
    """What was rewritten in the runs of `name`, their files and its versions: rows and names of hers.

    Parameters of runs cannot be changed through MLflow. With `has_file_here` they are left to whoever rewrites the
    database's file.
    """
    client = store.connect(tracking_uri)
    hers = {trace.run for trace in affected}
    counts: Counter[str] = Counter()
    failed: list[str] = []
    for run in _runs(client, name):
        counts["tags"] += _scrub_run_tags(client, run, who)
        for path in _files(client, run.info.run_id):
            try:
                counts["files"] += _scrub_file(client, run.info.run_id, path, who, run.info.run_id in hers, number)
            except Exception as error:  # each kind of artifact store has its own
                failed.append(f"a file of run {run.info.run_id} ({type(error).__name__})")
    for version in store.versions(client, name):
        counts["texts of versions"] += _scrub_version(client, version, who)
        try:
            counts["files"] += _scrub_reference(client, version, who)
        except Exception as error:
            failed.append(f"the reference clips of version {version.version} ({type(error).__name__})")
    if not has_file_here and (naming := _with_parameters(client, name, who)):
        failed.append(f"the parameters of runs {', '.join(naming)}, which an MLflow server never changes")
    why = f"could not be rewritten: {', '.join(failed)}" if failed else ""
    return Purged(place="MLflow", counts=dict(counts), unreached=why)


def _runs(client: MlflowClient, name: str) -> Iterator[Run]:
    """All runs of the experiment, newest first, those in MLflow's bin too."""
    from mlflow.entities import ViewType

    experiment = client.get_experiment_by_name(name)
    token: str | None = None
    while experiment is not None:
        page = client.search_runs(
            [experiment.experiment_id],
            run_view_type=ViewType.ALL,
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def _clips(client: MlflowClient, run: Run) -> pd.DataFrame | None:
    """The clips table of a run; None when it has none."""
    from mlflow.exceptions import MlflowException

    try:
        with tempfile.TemporaryDirectory(prefix="tenuto-erase-") as scratch:
            return pd.read_parquet(client.download_artifacts(run.info.run_id, lineage.CLIPS, scratch))
    except (MlflowException, OSError):
        return None


def _roles(client: MlflowClient, run: Run, who: Identities) -> dict[Role, int]:
    """How many of her clips a run held, by what it did with them; empty when none or when nobody knows."""
    table = _clips(client, run)
    if table is None:
        return {}
    hers = table[dataset.of(table, who)]
    splits = hers["split"] if "split" in hers else pd.Series("train", index=hers.index)
    roles: Counter[Role] = Counter(ROLES.get(str(split), "aside") for split in splits)
    return dict(sorted(roles.items()))


def _files(client: MlflowClient, run_id: str, folder: str | None = None) -> Iterator[str]:
    """The paths of a run's files, without plots, which show sums, and models, which show weights."""
    for item in client.list_artifacts(run_id, folder):
        if not item.is_dir:
            yield item.path
        elif item.path not in _KEPT_FOLDERS:
            yield from _files(client, run_id, item.path)


def _scrub_file(client: MlflowClient, run_id: str, path: str, who: Identities, is_hers: bool, number: str) -> bool:
    """True when a file of a run had to be rewritten."""
    with tempfile.TemporaryDirectory(prefix="tenuto-erase-") as scratch:
        local = Path(client.download_artifacts(run_id, path, scratch))
        data = local.read_bytes()
        fresh = scrubbed(path, data, who)
        if local.suffix == _PAGES and (is_hers or fresh):
            fresh = NOTICE.format(number=number).encode()
        if fresh is None or fresh == data:
            return False
        local.write_bytes(fresh)
        client.log_artifact(run_id, str(local), str(PurePosixPath(path).parent).strip(".") or None)
    return True


def _with_parameters(client: MlflowClient, name: str, who: Identities) -> list[str]:
    """The runs whose parameters name her."""
    return [run.info.run_id for run in _runs(client, name) if any(map(who.are_in, run.data.params.values()))]


def _scrub_run_tags(client: MlflowClient, run: Run, who: Identities) -> int:
    if run.info.lifecycle_stage != "active":
        return 0
    changed = _naming(run.data.tags, who)
    for key, value in changed.items():
        client.set_tag(run.info.run_id, key, value)
    return len(changed)


def _scrub_version(client: MlflowClient, version: ModelVersion, who: Identities) -> int:
    changed = _naming(version.tags, who)
    for key, value in changed.items():
        client.set_model_version_tag(version.name, version.version, key, value)
    description = version.description or ""
    if who.are_in(description):
        client.update_model_version(version.name, version.version, who.without(description))
    return len(changed) + who.are_in(description)


def _scrub_reference(client: MlflowClient, version: ModelVersion, who: Identities) -> bool:
    """True when the table of reference clips in the version's bundle had rows of hers."""
    model = version.tags.get(_MODEL_ID)
    folder = f"artifacts/{FOLDER_NAME}"
    path = f"{folder}/{REFERENCE_NAME}"
    if not model or path not in {item.path for item in client.list_logged_model_artifacts(model, folder)}:
        return False
    from mlflow.artifacts import download_artifacts

    uri = f"{client.get_logged_model(model).artifact_location.rstrip('/')}/{path}"
    with tempfile.TemporaryDirectory(prefix="tenuto-erase-") as scratch:
        local = Path(download_artifacts(artifact_uri=uri, dst_path=scratch, tracking_uri=client.tracking_uri))
        fresh = scrubbed(REFERENCE_NAME, local.read_bytes(), who)
        if fresh is None:
            return False
        local.write_bytes(fresh)
        client.log_model_artifact(model, str(local), folder)
    return True


def _naming(tags: dict[str, str], who: Identities) -> dict[str, str]:
    """The tags that name her, without her."""
    texts = {key: value for key, value in tags.items() if key in _FREE_TEXT_TAGS or key.startswith(_OUR_TAGS)}
    return {key: who.without(value) for key, value in texts.items() if who.are_in(value)}


def _added(numbers: str | None, number: str) -> str:
    return " ".join(sorted({*(numbers or "").split(), number}))
