"""MLflow as every task meets it: a client, the experiment of a model, its versions and aliases.

No task, and the one module that tasks of all kinds import. The same calls serve a SQLite file and a server.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


def connect(tracking_uri: str) -> MlflowClient:
    """A client of runs and models at one address, whatever the process-wide settings of MLflow are."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def aliases(client: MlflowClient, name: str) -> dict[str, str]:
    """Alias to version; empty when no model has the name."""
    from mlflow.exceptions import MlflowException

    try:
        return {alias: str(at) for alias, at in client.get_registered_model(name).aliases.items()}
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return {}
        raise


def versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    """All versions, newest first, those that are still being registered too; pages are followed."""
    found: list[ModelVersion] = []
    token: str | None = None
    while True:
        page = client.search_model_versions(f"name='{name}'", max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return sorted(found, key=lambda version: int(version.version), reverse=True)


def require_experiment(client: MlflowClient, name: str) -> str:
    """The id of the experiment of the model; made, or taken out of MLflow's bin, when need be."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=_artifact_location(client.tracking_uri)))
        except MlflowException:
            # another process has just made it
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _artifact_location(tracking_uri: str) -> str | None:
    """Beside the SQLite file, so that the workspace's server finds the same files; a server has its own place."""
    prefix, _, database = tracking_uri.partition("sqlite:///")
    return None if prefix or not database else Path(database).resolve().with_name("mlartifacts").as_uri()
