"""One MLflow run per flow run: what went in, what came out, and every figure and file that a verdict rests on.

The run is opened first and closed last, so that a run that failed can be found too. A run that was killed stays open
in MLflow until the next one for the same model closes it.
"""

from __future__ import annotations

import json
import logging
import math
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, Field, ValidationError

from tenuto.lineage import CLIPS, Lineage
from tenuto.processes import Process, is_abandoned, this_process
from tenuto.records import Checkpoint, DatasetVersion, Evaluation, Record, RegisteredModel, ValidationReport, Verdict
from tenuto.settings import Params

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

_Item = TypeVar("_Item")
log = logging.getLogger(__name__)

_PROCESS = "tenuto.process"
_REPORT = "tenuto.report"
_BOUNDS = ("macro_f1_low", "macro_f1_high")
_LONGEST_TAG = 4000
_METRICS_PER_CALL = 900
_PARAMS_PER_CALL = 100


class LastRun(Record):
    """The last run of a model that came to a verdict."""

    run_id: str
    inputs: str
    verdict: str
    reasons: tuple[str, ...]
    model: RegisteredModel | None
    metrics: dict[str, dict[str, float]]
    """Per model: macro_f1, accuracy ..."""
    report: str | None
    """Path of its page."""


class Results(Record):
    """What a run came to; a run that ended early leaves the rest out."""

    verdict: Verdict
    clips_path: Path | None = None
    validation: ValidationReport | None = None
    checkpoint: Checkpoint | None = None
    evaluation: Evaluation | None = None
    fill: dict[str, dict[str, float]] = Field(default_factory=dict)


@task(name="open-run", task_run_name="open-run-of-{name}", cache_policy=NO_CACHE, persist_result=False)
def start(tracking_uri: str, name: str, params: Params, lineage: Lineage) -> str:
    """The id of a new MLflow run of the experiment `name`, with parameters, dataset and lineage."""
    from mlflow.entities import Param

    client = _client(tracking_uri)
    experiment = _experiment(client, name)
    _close_killed_runs(client, experiment)
    run = client.create_run(experiment, tags=_start_tags(lineage), run_name=time.strftime(f"{name} %Y-%m-%d %H:%M"))
    run_id = str(run.info.run_id)
    for some in _batches(_flat(params.model_dump(mode="json")), _PARAMS_PER_CALL):
        client.log_batch(run_id, params=[Param(key, str(value)) for key, value in some])
    _log_dataset(client, run_id, name, lineage.dataset)
    client.log_dict(run_id, lineage.model_dump(mode="json"), "lineage/lineage.json")
    return run_id


@task(name="log-results", cache_policy=NO_CACHE, persist_result=False, retries=2, retry_delay_seconds=5)
def log_results(tracking_uri: str, run_id: str, results: Results) -> None:
    """Figures as metrics; validation, evaluation, verdict, clips table and plots as artifacts of the run."""
    from mlflow.entities import RunTag

    client = _client(tracking_uri)
    for some in _batches(_metrics(results), _METRICS_PER_CALL):
        client.log_batch(run_id, metrics=some)
    tags = {"tenuto.verdict": results.verdict.verdict, "tenuto.reasons": "\n".join(results.verdict.reasons)}
    if results.checkpoint:
        tags["tenuto.trained"] = "true"
    client.log_batch(run_id, tags=[RunTag(name, value[:_LONGEST_TAG]) for name, value in tags.items()])
    with tempfile.TemporaryDirectory(prefix="tenuto-run-") as scratch:
        _write_artifacts(results, Path(scratch))
        client.log_artifacts(run_id, scratch)


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
    client = _client(tracking_uri)
    if model:
        client.set_tag(run_id, "tenuto.model", model.model_dump_json())
    if report:
        client.set_tag(run_id, _REPORT, str(report))
        client.log_artifact(run_id, str(report), "report")
    if seconds:
        client.log_batch(run_id, metrics=[_metric(f"seconds.{_key(stage)}", s) for stage, s in seconds.items()])
    client.set_terminated(run_id, status)


def last_run(tracking_uri: str, name: str) -> LastRun | None:
    """The newest finished run of `name` that has a verdict; None when there is none."""
    run = _newest(_client(tracking_uri), name, "tags.`tenuto.verdict` != ''")
    if run is None:
        return None
    tags = run.data.tags
    return LastRun(
        run_id=run.info.run_id,
        inputs=tags.get("tenuto.inputs", ""),
        verdict=tags["tenuto.verdict"],
        reasons=tuple(tags.get("tenuto.reasons", "").splitlines()),
        model=RegisteredModel.model_validate_json(tags["tenuto.model"]) if "tenuto.model" in tags else None,
        metrics=_overall(run.data.metrics),
        report=tags.get(_REPORT),
    )


def last_trained_clips(tracking_uri: str, name: str, cache: Path) -> Path | None:
    """The clips table of the newest finished run that trained, copied under `cache`; None when there is none."""
    from mlflow.exceptions import MlflowException

    client = _client(tracking_uri)
    run = _newest(client, name, "tags.`tenuto.trained` = 'true'")
    if run is None:
        return None
    kept = cache / "runs" / str(run.info.run_id) / "clips.parquet"
    if kept.is_file():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
            Path(client.download_artifacts(run.info.run_id, CLIPS, scratch)).replace(kept)
    except (MlflowException, OSError) as error:
        log.warning("the clips table of run %s is gone, so drift is not measured (%s)", run.info.run_id, error)
        return None
    return kept


def _client(tracking_uri: str) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri)


def _experiment(client: MlflowClient, name: str) -> str:
    """The id of the experiment `name`; made, or taken out of MLflow's bin, when need be."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=_artifact_location(client.tracking_uri)))
        except MlflowException as error:
            # another run has just made it
            found = client.get_experiment_by_name(name)
            if found is None:
                raise error
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _artifact_location(tracking_uri: str) -> str | None:
    """Beside the SQLite file, so that the workspace's server finds the same files; a server has its own place."""
    prefix, _, database = tracking_uri.partition("sqlite:///")
    return None if prefix or not database else Path(database).resolve().with_name("mlartifacts").as_uri()


def _close_killed_runs(client: MlflowClient, experiment: str) -> None:
    for run in client.search_runs([experiment], filter_string="attributes.status = 'RUNNING'"):
        try:
            process = Process.model_validate_json(run.data.tags.get(_PROCESS, ""))
        except ValidationError:
            continue
        if is_abandoned(process):
            client.set_terminated(run.info.run_id, "KILLED")


def _start_tags(lineage: Lineage) -> dict[str, str]:
    # MLflow's own names make its pages link commit and user
    known = {"mlflow.source.git.commit": lineage.code.commit, "mlflow.source.name": "tenuto retrain"}
    dirty = "\n".join(lineage.code.dirty_files)[:_LONGEST_TAG]
    ours = lineage.tags() | {_PROCESS: this_process().model_dump_json(), "tenuto.git_dirty_files": dirty}
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
            yield f"fill.{_key(kind)}.{_key(what)}", value
    if results.evaluation:
        yield from _evaluation_figures(results.evaluation)


def _evaluation_figures(evaluation: Evaluation) -> Iterator[tuple[str, float]]:
    for model, row in evaluation.metrics.items():
        yield from ((f"{model}.{_key(what)}", value) for what, value in row.items())
    for model, interval in evaluation.intervals.items():
        yield from ((f"{model}.{bound}", at) for bound, at in zip(_BOUNDS, (interval.low, interval.high), strict=True))
    for model, levels in evaluation.noise.items():
        yield from ((f"{model}.noise.{_key(level)}.recall", recall) for level, recall in levels.items())
    for model, labels in evaluation.per_class.items():
        for label, row in labels.items():
            yield from ((f"{model}.class.{_key(label)}.{what}", value) for what, value in row.items())
    for model, groups in evaluation.gaps.items():
        for group, row in groups.items():
            yield from ((f"{model}.gap.{_key(group)}.{_key(what)}", value) for what, value in row.items())


def _key(text: str) -> str:
    """Text as MLflow allows it in the name of a metric."""
    return re.sub(r"[^\w. -]", "_", text, flags=re.ASCII)[:80]


def _metric(name: str, value: float) -> Metric:
    from mlflow.entities import Metric

    return Metric(name, float(value), int(time.time() * 1000), 0)


def _write_artifacts(results: Results, folder: Path) -> None:
    parts: dict[str, BaseModel | None] = {
        "verdict/verdict.json": results.verdict,
        "validation/report.json": results.validation,
        "evaluation/evaluation.json": results.evaluation,
    }
    for name, record in parts.items():
        if record is not None:
            _place(folder / name).write_text(record.model_dump_json(indent=2), encoding="utf-8")
    if results.clips_path:
        _place(folder / CLIPS).write_bytes(results.clips_path.read_bytes())
    if results.evaluation:
        probabilities = results.evaluation.probabilities_path.read_bytes()
        _place(folder / "evaluation" / "probabilities.parquet").write_bytes(probabilities)
        for model in results.evaluation.confusion:
            _plot_confusion(results.evaluation, model, _place(folder / "plots" / f"confusion-{model}.png"))


def _place(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _plot_confusion(evaluation: Evaluation, model: str, path: Path) -> None:
    from matplotlib.figure import Figure
    from sklearn.metrics import ConfusionMatrixDisplay

    # a Figure of its own: pyplot would keep every figure and wants a display
    figure = Figure(figsize=(1.5 + 0.45 * len(evaluation.labels),) * 2, layout="constrained")
    axes = figure.subplots()
    # matplotlib reads a dollar sign as mathematics
    labels = [label.replace("$", r"\$") for label in evaluation.labels]
    matrix = _array(evaluation.confusion[model])
    ConfusionMatrixDisplay(matrix, display_labels=labels).plot(ax=axes, colorbar=False, xticks_rotation="vertical")
    axes.set_title(f"{model}, test clips")
    figure.savefig(path, dpi=110)


def _array(rows: list[list[int]]) -> Any:
    import numpy as np

    return np.asarray(rows)


def _newest(client: MlflowClient, name: str, condition: str) -> Run | None:
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return None
    runs = client.search_runs(
        [experiment.experiment_id],
        filter_string=f"attributes.status = 'FINISHED' and {condition}",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    return runs[0] if runs else None


def _overall(metrics: dict[str, float]) -> dict[str, dict[str, float]]:
    """The figures of each model on all test clips, as the evaluation has them, without bounds of intervals."""
    found: dict[str, dict[str, float]] = {}
    for key, value in metrics.items():
        model, _, what = key.partition(".")
        is_figure = "." not in what and what not in _BOUNDS
        if is_figure and model in ("candidate", "baseline", "champion", "majority"):
            found.setdefault(model, {})[what] = value
    return found


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`{'a': {'b': 1}}` as `('a.b', 1)`."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{_key(key)}", value


def _batches(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
