"""Runs of `tenuto compare` and `tenuto tune` in MLflow: one parent run, and a nested child run for each trial.

They live in an experiment of their own beside the model's. So whoever asks the model's experiment what was trained,
decided or heard (the last run, the audit, the replay) never meets a trial. A model's name holds no space, so no model
can be called as the experiment is. Nothing of a trial names a recording or a person: settings and figures only, and
pictures of them, so that an erasure has nothing to look for here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tasks.track import figures, store
from tenuto.processes import this_process

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from tenuto.settings import Params

__all__ = ["Kind", "experiment", "finish", "log", "start"]

Kind = Literal["compare", "tune"]

_PARENT = "mlflow.parentRunId"
"""MLflow's own tag, by which its pages nest runs."""
_KIND = "tenuto.trials"
_PER_CALL = 100


def experiment(name: str) -> str:
    """The name of the experiment that holds the trials for the model `name`."""
    return f"{name} trials"


def start(tracking_uri: str, name: str, kind: Kind, params: Params, dataset_md5: str = "") -> str:
    """The id of a new parent run with the settings as parameters; closes what killed processes left open."""
    client = store.connect(tracking_uri)
    where = store.require_experiment(client, experiment(name))
    store.close_killed_runs(client, where)
    tags = _tags(kind) | ({"tenuto.dataset_md5": dataset_md5} if dataset_md5 else {})
    run = client.create_run(where, tags=tags, run_name=time.strftime(f"{kind} %Y-%m-%d %H:%M"))
    # the card is free text, in which anybody may be named
    _log_params(client, run.info.run_id, {k: v for k, v in figures.parameters(params) if not k.startswith("card.")})
    return str(run.info.run_id)


def log(
    tracking_uri: str,
    parent: str,
    title: str,
    params: Mapping[str, Any],
    metrics: Mapping[str, float],
    artifacts: Iterable[Path] = (),
) -> str:
    """The id of a finished child run of `parent`; figures that are not finite are left out."""
    from mlflow.entities import Metric

    client = store.connect(tracking_uri)
    above = client.get_run(parent)
    tags = _tags(above.data.tags[_KIND]) | {_PARENT: parent}
    run_id = str(client.create_run(above.info.experiment_id, tags=tags, run_name=title).info.run_id)
    _log_params(client, run_id, params)
    now = int(time.time() * 1000)
    # REST cannot carry what is not finite
    finite = [Metric(figures.key(k), float(v), now, 0) for k, v in metrics.items() if math.isfinite(v)]
    for first in range(0, len(finite), _PER_CALL):
        client.log_batch(run_id, metrics=finite[first : first + _PER_CALL])
    finish(tracking_uri, run_id, artifacts)
    return run_id


def finish(
    tracking_uri: str,
    run_id: str,
    artifacts: Iterable[Path] = (),
    status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED",
) -> None:
    """Closes a run after its files have been stored."""
    client = store.connect(tracking_uri)
    for path in artifacts:
        client.log_artifact(run_id, str(path))
    client.set_terminated(run_id, status)


def _tags(kind: str) -> dict[str, str]:
    source = {"mlflow.source.name": f"tenuto {kind}"}
    return source | {_KIND: kind, store.PROCESS: this_process().model_dump_json()}


def _log_params(client: MlflowClient, run_id: str, params: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    entries = [Param(key, str(value)) for key, value in params.items()]
    for first in range(0, len(entries), _PER_CALL):
        client.log_batch(run_id, params=entries[first : first + _PER_CALL])
