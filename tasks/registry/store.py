"""The calls to MLflow that all of the registry shares, and the names of Tenuto's tags.

The same calls serve a SQLite file and a server.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tenuto.errors import RegistryError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, PREVIOUS, CHALLENGER = "champion", "previous", "challenger"
PENDING = "tenuto.pending"
MODEL_ID = "tenuto.model_id"
CHECKPOINT = "tenuto.checkpoint_sha256"
PREPROCESSING = "tenuto.preprocessing"
EVALUATED_AGAINST = "tenuto.evaluated_against"
NO_CHAMPION = "no champion"
APPROVAL = "tenuto.approval"
AWAITING = "awaiting"
REFUSED = "refused"
"""Followed by who did."""
ERASED = "tenuto.erased"
LEDGER = "tenuto.ledger."
"""Followed by the six digits of an entry's number: on the experiment all entries, on a version those about it."""


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


def move_aliases(
    client: MlflowClient,
    name: str,
    before: dict[str, str],
    after: dict[str, str],
    check: Callable[[], None] = lambda: None,
) -> None:
    """Sets and takes away what differs; @champion is the last to move, since services follow it.

    Calls `check` right before each move, which raises when the move must not happen any more.
    """
    for alias in sorted({*before, *after}, key=lambda alias: (alias == CHAMPION, alias != PREVIOUS, alias)):
        if before.get(alias) != after.get(alias):
            check()
        if alias not in after:
            client.delete_registered_model_alias(name, alias)
        elif before.get(alias) != after[alias]:
            client.set_registered_model_alias(name, alias, after[alias])


def versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    """All versions, newest first; pages are followed."""
    found: list[ModelVersion] = []
    token: str | None = None
    while True:
        page = client.search_model_versions(f"name='{name}'", max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return sorted(found, key=lambda version: int(version.version), reverse=True)


def version(client: MlflowClient, name: str, number: str) -> ModelVersion:
    """The finished version `number`, which may be given as 3, v3, @champion or champion.

    Raises RegistryError naming the versions that there are.
    """
    wanted = number.removeprefix("@")
    found = {str(one.version): one for one in versions(client, name) if PENDING not in one.tags}
    at = aliases(client, name).get(wanted, wanted.removeprefix("v"))
    if at not in found:
        there = ", ".join(sorted(found, key=int)) or "none; `tenuto retrain` makes one"
        named = ", ".join(f"@{alias}" for alias in sorted(aliases(client, name)))
        raise RegistryError(
            f"{number!r} is no version of {name}. Registered: {there}{f'; aliases: {named}' if named else ''}."
        )
    return found[at]


def experiment(client: MlflowClient, name: str) -> Experiment | None:
    """The experiment of the model, whose tags mirror its ledger; None before the first run."""
    return client.get_experiment_by_name(name)


def experiments(client: MlflowClient, tag: str) -> list[Experiment]:
    """All experiments that have the tag, deleted ones too; pages are followed."""
    from mlflow.entities import ViewType

    found: list[Experiment] = []
    token: str | None = None
    while True:
        page = client.search_experiments(ViewType.ALL, 1000, filter_string=f"tags.`{tag}` LIKE '%'", page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def require_experiment(client: MlflowClient, name: str) -> str:
    """The id of the experiment of the model; made, or taken out of MLflow's bin, when need be."""
    from mlflow.exceptions import MlflowException

    found = experiment(client, name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=_artifact_location(client.tracking_uri)))
        except MlflowException:
            # another process has just made it
            found = experiment(client, name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _artifact_location(tracking_uri: str) -> str | None:
    """Beside the SQLite file, as that of runs (`tasks.track`); a server has its own place."""
    prefix, _, database = tracking_uri.partition("sqlite:///")
    return None if prefix or not database else Path(database).resolve().with_name("mlartifacts").as_uri()
