"""Where runs are kept: the MLflow client, the experiment of a model, and its newest run of some kind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from tenuto.processes import Process, is_abandoned

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PROCESS = "tenuto.process"
"""The tag that says which process writes a run."""


def connect(tracking_uri: str) -> MlflowClient:
    """A client of the store at `tracking_uri`."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri)


def experiment(client: MlflowClient, name: str) -> str:
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


def close_killed_runs(client: MlflowClient, experiment_id: str) -> None:
    """Marks the runs as killed whose process lives no more."""
    for run in client.search_runs([experiment_id], filter_string="attributes.status = 'RUNNING'"):
        try:
            process = Process.model_validate_json(run.data.tags.get(PROCESS, ""))
        except ValidationError:
            continue
        if is_abandoned(process):
            client.set_terminated(run.info.run_id, "KILLED")


def newest(client: MlflowClient, name: str, condition: str) -> Run | None:
    """The newest finished run of `name` that meets `condition`; None when there is none."""
    found = client.get_experiment_by_name(name)
    if found is None:
        return None
    runs = client.search_runs(
        [found.experiment_id],
        filter_string=f"attributes.status = 'FINISHED' and {condition}",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    return runs[0] if runs else None


def _artifact_location(tracking_uri: str) -> str | None:
    """Beside the SQLite file, so that the workspace's server finds the same files; a server has its own place."""
    prefix, _, database = tracking_uri.partition("sqlite:///")
    return None if prefix or not database else Path(database).resolve().with_name("mlartifacts").as_uri()
