"""One MLflow run per flow run: what went in, what came out, and every figure and file that a verdict rests on.

The run is opened first and closed last, so that a run that failed can be found too. A run that was killed stays open
in MLflow until the next one for the same model closes it.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.track import artifacts, figures, store
from tasks.track.artifacts import Results, evidence
from tasks.track.last import REPORT, LastRun, last_run, last_trained_clips
from tenuto.processes import this_process
from tenuto.records import DatasetVersion, RegisteredModel, Remedy
from tenuto.settings import Params
from tenuto.tracing.lineage import APPLIED, Lineage
from tenuto.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

__all__ = [
    "LastRun",
    "Results",
    "evidence",
    "finish",
    "last_run",
    "last_trained_clips",
    "log_remedy",
    "log_results",
    "page",
    "start",
]

_Item = TypeVar("_Item")

_LONGEST_TAG = 4000
_LONGEST_PARAM = 500
_METRICS_PER_CALL = 900
_PARAMS_PER_CALL = 100


@task(name="open-run", task_run_name="open-run-of-{name}", cache_policy=NO_CACHE, persist_result=False)
def start(tracking_uri: str, name: str, params: Params, lineage: Lineage) -> str:
    """The id of a new MLflow run of the experiment `name`, with parameters, dataset, lineage and the files given."""
    from mlflow.entities import Param

    client = store.connect(tracking_uri)
    experiment = store.require_experiment(client, name)
    store.close_killed_runs(client, experiment)
    run = client.create_run(experiment, tags=_start_tags(lineage), run_name=time.strftime(f"{name} %Y-%m-%d %H:%M"))
    run_id = str(run.info.run_id)
    for some in _batches(figures.parameters(params), _PARAMS_PER_CALL):
        client.log_batch(run_id, params=[Param(key, value) for key, value in some])
    _log_dataset(client, run_id, name, lineage.dataset)
    client.log_dict(run_id, lineage.model_dump(mode="json"), "lineage/lineage.json")
    workspace = Workspace(lineage.dataset.manifest_path.parent.parent)
    _log_files(client, run_id, artifacts.inputs(workspace, params))
    return run_id


def log_remedy(tracking_uri: str, run_id: str, remedy: Remedy, params: Params) -> None:
    """Adds the remedy that was chosen to the run's parameters, with every setting that it changes in `params`."""
    from mlflow.entities import Param

    before = dict(figures.parameters(params))
    after = figures.parameters(params.with_remedy(remedy.choices))
    changed = [Param(f"{APPLIED}{key}", value) for key, value in after if value != before[key]]
    said = [Param("remedy.use", remedy.use), Param("remedy.why", remedy.why[:_LONGEST_PARAM])]
    store.connect(tracking_uri).log_batch(run_id, params=said + changed)


@task(name="log-results", cache_policy=NO_CACHE, persist_result=False, retries=2, retry_delay_seconds=5)
def log_results(tracking_uri: str, run_id: str, results: Results) -> None:
    """Figures as metrics; validation, evaluation, verdict, clips table, card and plots as artifacts of the run."""
    from mlflow.entities import RunTag

    client = store.connect(tracking_uri)
    for some in _batches(_metrics(results), _METRICS_PER_CALL):
        client.log_batch(run_id, metrics=some)
    tags = {"tenuto.verdict": results.verdict.verdict, "tenuto.reasons": "\n".join(results.verdict.reasons)}
    if results.checkpoint:
        tags["tenuto.trained"] = "true"
    client.log_batch(run_id, tags=[RunTag(name, value[:_LONGEST_TAG]) for name, value in tags.items()])
    plots = artifacts.plots(results.evaluation) if results.evaluation else {}
    _log_files(client, run_id, artifacts.files(results) | plots)


@task(name="close-run", cache_policy=NO_CACHE, persist_result=False)
def finish(
    tracking_uri: str,
    run_id: str,
    status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED",
    model: RegisteredModel | None = None,
    report: Path | None = None,
    seconds: dict[str, float] | None = None,
) -> None:
    """Closes the run, with its report and the version that came of it; only a FINISHED run counts as the last one."""
    client = store.connect(tracking_uri)
    if model:
        client.set_tag(run_id, "tenuto.model", model.model_dump_json())
    if report:
        client.set_tag(run_id, REPORT, str(report))
        client.log_artifact(run_id, str(report), "report")
    if seconds:
        client.log_batch(run_id, metrics=[_metric(f"seconds.{figures.key(stage)}", s) for stage, s in seconds.items()])
    client.set_terminated(run_id, status)


def page(tracking_uri: str, run_id: str) -> str | None:
    """The address of the run's page on the server; None for a store that is a file."""
    if not tracking_uri.startswith("http"):
        return None
    experiment = store.connect(tracking_uri).get_run(run_id).info.experiment_id
    return f"{tracking_uri.rstrip('/')}/#/experiments/{experiment}/runs/{run_id}"


def _start_tags(lineage: Lineage) -> dict[str, str]:
    # MLflow's own names make its pages link commit and user
    known = {"mlflow.source.git.commit": lineage.code.commit, "mlflow.source.name": "tenuto retrain"}
    dirty = "\n".join(lineage.code.dirty_files)[:_LONGEST_TAG]
    ours = lineage.tags() | {store.PROCESS: this_process().model_dump_json(), "tenuto.git_dirty_files": dirty}
    return {name: value for name, value in {**known, **ours}.items() if value}


def _log_dataset(client: MlflowClient, run_id: str, name: str, dataset: DatasetVersion) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    entity = Dataset(
        name=name,
        # MLflow takes at most 36 characters, which is just what DVC's md5 of a folder has
        digest=dataset.md5[:36],
        source_type="local",
        source=json.dumps({"uri": "data.dvc"}),
        profile=json.dumps({"clips": dataset.clips, "quarantined": dataset.quarantined}),
    )
    client.log_inputs(run_id, [DatasetInput(entity, tags=[InputTag("mlflow.data.context", "training")])])


def _log_files(client: MlflowClient, run_id: str, contents: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory(prefix="tenuto-run-") as scratch:
        artifacts.write(contents, Path(scratch))
        client.log_artifacts(run_id, scratch)


def _metrics(results: Results) -> Iterator[Metric]:
    for name, value in _figures(results):
        # REST cannot carry them
        if math.isfinite(value):
            yield _metric(name, value)


def _figures(results: Results) -> Iterator[tuple[str, float]]:
    if results.checkpoint:
        yield "trainable_parameters", results.checkpoint.trainable_parameters
        yield "training_seconds", results.checkpoint.seconds
    for kind, row in results.fill.items():
        for what, value in row.items():
            yield f"fill.{figures.key(kind)}.{figures.key(what)}", value
    if results.exported and results.exported.bundle:
        yield from figures.serving_figures(results.exported.bundle)
    if results.evaluation:
        yield from figures.evaluation_figures(results.evaluation)
    if results.golden:
        for model, row in results.golden.metrics.items():
            yield from ((f"golden.{model}.{figures.key(what)}", value) for what, value in row.items())


def _metric(name: str, value: float) -> Metric:
    from mlflow.entities import Metric

    return Metric(name, float(value), int(time.time() * 1000), 0)


def _batches(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
