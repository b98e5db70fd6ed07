"""The calls to MLflow that all of the registry shares, and the names of Tenuto's tags."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tasks.store import aliases, connect, require_experiment, versions
from tenuto.errors import RegistryError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment
    from mlflow.entities.model_registry import ModelVersion

__all__ = [
    "aliases",
    "connect",
    "experiment",
    "experiments",
    "move_aliases",
    "require_experiment",
    "version",
    "versions",
]

CHAMPION, PREVIOUS, CHALLENGER = "champion", "previous", "challenger"
PENDING = "tenuto.pending"
MODEL_ID = "tenuto.model_id"
CHECKPOINT = "tenuto.checkpoint_sha256"
PREPROCESSING = "tenuto.preprocessing"
EVALUATED_AGAINST = "tenuto.evaluated_against"
NO_CHAMPION = "no champion"
SERVED_BY = "tenuto.served_by"
"""The artefact of the version's bundle that serves, or NOT_EXPORTED and why there is none."""
NOT_EXPORTED = "not exported"
APPROVAL = "tenuto.approval"
AWAITING = "awaiting"
REFUSED = "refused"
"""Followed by who did."""
ERASED = "tenuto.erased"
LEDGER = "tenuto.ledger."
"""Followed by the six digits of an entry's number: on the experiment all entries, on a version those about it."""


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
