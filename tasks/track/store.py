"""Where runs are kept: those that were killed, and the newest of some kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from tasks.store import connect, require_experiment
from tenuto.processes import Process, is_abandoned

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["PROCESS", "close_killed_runs", "connect", "newest", "require_experiment"]

PROCESS = "tenuto.process"
"""The tag that says which process writes a run."""


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
