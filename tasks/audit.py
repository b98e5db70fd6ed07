"""Fills the audit's index from MLflow: every ended run with its clips table, and every registered version.

No Prefect here: `tenuto audit` calls this when the index lacks something, and a person waits for the answer.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from tasks import store
from tenuto.labels import LabelType
from tenuto.records import GROUP_PREFIX, ValidationReport, Verdict
from tenuto.settings import AugmentSettings
from tenuto.tracing import lineage
from tenuto.tracing.audit import copies
from tenuto.tracing.audit.documents import Lock, Met, RunDocument, VersionDocument, Weighting
from tenuto.tracing.audit.index import Index, group_text
from tenuto.tracing.audit.listings import ClipUse
from tenuto.tracing.ledger import Entry

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

_Read = TypeVar("_Read", bound=BaseModel)
log = logging.getLogger(__name__)

_ENDED = ("FINISHED", "FAILED", "KILLED")
_PER_PAGE = 1000
_MIRROR = "tenuto.ledger."
"""Of the experiment's tags that mirror the ledger (`tasks.registry.mirror` writes them)."""


def catch_up(tracking_uri: str, name: str, index_path: Path, named: Collection[str] = ()) -> int:
    """How many ended runs of the model `name` the index lacked and now has; its versions are read anew.

    Of the run ids in `named` (by the ledger), those that MLflow does not know are kept as GONE, so that they are not
    looked for again and again.
    """
    client = store.connect(tracking_uri)
    with Index.open(index_path) as index:
        known = index.run_ids()
        missing = [run for run in _ended_runs(client, name) if run.info.run_id not in known]
        for run in missing:
            with tempfile.TemporaryDirectory(prefix="tenuto-audit-") as folder:
                files = _Files(client, run.info.run_id, Path(folder))
                clips, weights = _clips(run, files)
                weighting = _weighting(run, weights)
                index.add(_document(run, name, files, weighting), clips, weights if weighting == "uneven" else None)
        index.set_versions(name, [_version(version) for version in _finished_versions(client, name)])
        for run_id in sorted(set(named) - index.run_ids()):
            if _is_gone(client, run_id):
                log.warning("MLflow has no run %s, which the ledger names; its clips are unknown", run_id)
                index.add(RunDocument(run_id=run_id, model=name, status="GONE", started_at=datetime.now(UTC)), None)
    return len(missing)


def _is_gone(client: MlflowClient, run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "deleted")
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return True
        raise


def entries(tracking_uri: str, name: str) -> list[Entry]:
    """The ledger's entries of the model as MLflow mirrors them, those of other hosts included, by number."""
    client = store.connect(tracking_uri)
    experiment = client.get_experiment_by_name(name)
    found = []
    for key, text in sorted((experiment.tags if experiment else {}).items()):
        if key.startswith(_MIRROR):
            try:
                found.append(Entry.model_validate_json(text))
            except ValidationError:
                log.warning("MLflow's copy %s of %s is no entry; `tenuto ledger verify` says more", key, name)
    return found


def aliases(tracking_uri: str, name: str) -> dict[str, str]:
    """Alias to version, as MLflow has them now; empty when no model has the name."""
    return store.aliases(store.connect(tracking_uri), name)


class _Files:
    """The artifacts of one run, read when asked for; None for what the run did not leave."""

    def __init__(self, client: MlflowClient, run_id: str, folder: Path) -> None:
        self._client = client
        self._run_id = run_id
        self._folder = folder

    def path(self, name: str) -> Path | None:
        from mlflow.exceptions import MlflowException

        try:
            return Path(self._client.download_artifacts(self._run_id, name, str(self._folder)))
        except (MlflowException, OSError):
            return None

    def json(self, name: str) -> Any:
        path = self.path(name)
        try:
            return json.loads(path.read_text(encoding="utf-8")) if path else None
        except ValueError:
            log.warning("run %s: %s is damaged and was passed over", self._run_id, name)
            return None

    def record(self, name: str, kind: type[_Read]) -> _Read | None:
        """The file as a record; None when it was written by a release with other fields."""
        try:
            found = self.json(name)
            return kind.model_validate(found) if found is not None else None
        except ValidationError:
            log.warning("run %s: %s is not of the form that this release reads", self._run_id, name)
            return None


def _ended_runs(client: MlflowClient, name: str) -> list[Run]:
    """The ended runs of the experiment `name`, the oldest first."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return []
    found: list[Run] = []
    token: str | None = None
    while True:
        page = client.search_runs(
            [experiment.experiment_id], order_by=["attributes.start_time ASC"], max_results=_PER_PAGE, page_token=token
        )
        found += [run for run in page if run.info.status in _ENDED]
        token = page.token
        if not token:
            return found


def _finished_versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    # a version that is still being registered is none yet
    return [version for version in store.versions(client, name) if "tenuto.pending" not in version.tags]


def _version(version: ModelVersion) -> VersionDocument:
    return VersionDocument(
        model=version.name,
        version=str(version.version),
        run_id=version.run_id or None,
        registered_at=_moment(version.creation_timestamp),
        tags=dict(version.tags),
    )


def _document(run: Run, name: str, files: _Files, weighting: Weighting) -> RunDocument:
    tags, metrics = run.data.tags, run.data.metrics
    made_from = files.record("lineage/lineage.json", lineage.Lineage)
    verdict = files.record("verdict/verdict.json", Verdict)
    report = files.record("validation/report.json", ValidationReport)
    return RunDocument(
        run_id=run.info.run_id,
        model=name,
        status=run.info.status,
        started_at=_moment(run.info.start_time),
        is_trained=tags.get("tenuto.trained") == "true",
        flow_run=tags.get("tenuto.prefect_run"),
        dataset_md5=tags.get("tenuto.dataset_md5"),
        dataset_clips=made_from.dataset.clips if made_from else None,
        code=made_from.code if made_from else None,
        source_sha256=tags.get("tenuto.source_sha256"),
        environment=made_from.environment if made_from else {},
        weighting=weighting,
        loss=lineage.as_applied(run.data.params).get("imbalance.loss", "cross-entropy"),
        lock=_lock(run, files),
        validation=tuple(
            Met(expectation=f.expectation, severity=f.severity, success=f.success, summary=f.summary)
            for f in (report.findings if report else ())
        ),
        verdict=verdict.verdict if verdict else tags.get("tenuto.verdict"),
        reasons=verdict.reasons if verdict else (),
        policy_sha256=verdict.policy_sha256 if verdict else None,
        macro_f1={key.removesuffix(".macro_f1"): at for key, at in metrics.items() if key.endswith(".macro_f1")},
        artifacts=run.info.artifact_uri,
    )


def _lock(run: Run, files: _Files) -> Lock | None:
    """The run's list of packages, hashed as it is stored; None when it left none."""
    name = f"{lineage.INPUTS}/{lineage.LOCK}"
    path = files.path(name)
    if path is None:
        return None
    content = path.read_bytes()
    packages = len(lineage.locked(content.decode("utf-8", "replace")))
    return Lock(sha256=hashlib.sha256(content).hexdigest(), packages=packages, place=f"{run.info.artifact_uri}/{name}")


def _weighting(run: Run, weights: Mapping[tuple[str, str], float]) -> Weighting:
    """How the clips counted, as the table says, or else the parameters: tables have weights only since this release."""
    said = lineage.as_applied(run.data.params)
    if said.get("imbalance.group_dro", "None") != "None":
        return "group DRO"
    if weights:
        return "even" if set(weights.values()) == {1.0} else "uneven"
    plain = (
        said.get("imbalance.sample_by", "()") in ("()", "[]") and said.get("imbalance.class_weights", "none") == "none"
    )
    return "even" if plain else "unknown"


def _clips(run: Run, files: _Files) -> tuple[list[ClipUse] | None, dict[tuple[str, str], float]]:
    """The clips table of a run and the weights of those trained on, by label and groups; None when it left none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = files.path(lineage.CLIPS)
    if path is None:
        return None, {}
    try:
        names = pq.read_schema(path).names
        wanted = ("clip_id", "label", "source", "split", "aside_reason", "copies", "weight")
        groups = [name for name in names if name.startswith(GROUP_PREFIX)]
        table = pq.read_table(path, columns=[n for n in names if n in wanted or n in groups], partitioning=None)
    except (pa.ArrowException, OSError) as error:
        log.warning("the clips table of run %s is damaged: %s", run.info.run_id, error)
        return None, {}
    columns = {name: table[name].to_pylist() for name in table.column_names}
    columns["copies"] = _copies(run, path, columns)
    columns["groups"] = _group_texts({name.removeprefix(GROUP_PREFIX): columns[name] for name in groups}, len(table))
    columns.setdefault("aside_reason", [""] * len(table))
    ordered = ("clip_id", "label", "groups", "source", "split", "copies", "aside_reason")
    return [ClipUse(*row) for row in zip(*(columns[name] for name in ordered), strict=True)], _weights(columns)


def _weights(columns: dict[str, list[Any]]) -> dict[tuple[str, str], float]:
    """The weights of the clips trained on, by label and groups, on which alone they depend."""
    rows = zip(columns["split"], columns["label"], columns["groups"], columns.get("weight", ()), strict=False)
    return {(label, groups): weight for split, label, groups, weight in rows if split == "train" and weight}


def _group_texts(groups: dict[str, list[str | None]], rows: int) -> list[str]:
    """The groups of every row as the index stores them; there are far fewer of them than rows."""
    if not groups:
        return [group_text({})] * rows
    values = list(zip(*groups.values(), strict=True))
    texts = {some: group_text(dict(zip(groups, some, strict=True))) for some in set(values)}
    return [texts[some] for some in values]


def _copies(run: Run, path: Path, columns: dict[str, list[Any]]) -> list[int | None]:
    """Copies of every row: as the table has them, else planned again; None when other code had planned them."""
    splits = columns["split"]
    planned = columns.get("copies") or _planned(run, path) or [None] * len(splits)
    return [count if split == "train" else 0 for split, count in zip(splits, planned, strict=True)]


def _planned(run: Run, path: Path) -> list[int] | None:
    tags, params = run.data.tags, lineage.as_applied(run.data.params)
    if tags.get("tenuto.trained") != "true" or tags.get("tenuto.source_sha256") != lineage.source_sha256():
        return None
    import pandas as pd

    try:
        settings = AugmentSettings.model_validate(
            {key.removeprefix("augment."): value for key, value in params.items() if key.startswith("augment.")}
        )
        seed = int(params["seed"])
    except (KeyError, ValueError):
        return None
    kind: LabelType = "many" if params.get("data.labels") == "many" else "one"
    planned: list[int] = copies.copies(pd.read_parquet(path), settings, seed, kind).tolist()
    return planned


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
