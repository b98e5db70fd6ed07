"""What runs leave half-registered, and how it is finished or removed.

A registration is several calls to a server, and a run may be killed between any two. So a logged model and a version
are born with the tag `tenuto.pending`, which says who is at work; it goes when the alias is set and the entry of the
ledger written (`tasks.registry.turns`). Whoever reads the registry next settles what a killed run left: a version that
an alias points at is finished, any other is removed.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from tasks.registry import store
from tasks.registry.turns import is_dead, tickets, turn
from tenuto.processes import Process, is_abandoned, this_process
from tenuto.records import Record

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

log = logging.getLogger(__name__)

_NO = "no"
"""The value of `tenuto.pending` at a logged model once it is registered."""


class _Pending(Record):
    """By whom a version is being registered."""

    process: Process


def mark() -> str:
    """The value of the tag of what this process registers."""
    return _Pending(process=this_process()).model_dump_json()


def settle(client: MlflowClient, name: str, ledger: Path | None) -> None:
    """Finishes or removes what a run that lives no more left: announced decisions, half-registered versions and models.

    Without a `ledger` to write to, decisions that were announced are left to the next reader, with their versions.
    """
    if not _is_anything_left(client, name):
        return
    if ledger is not None:
        with turn(client, name, ledger):
            settle_registrations(client, name)
    elif not any(ticket.decision for ticket in tickets(client, name).values()):
        settle_registrations(client, name)


def process_of(tags: dict[str, str]) -> Process | None:
    """Who registers the version or model with these tags; None for a finished one."""
    try:
        return _Pending.model_validate_json(tags[store.PENDING]).process if store.PENDING in tags else None
    except ValidationError:
        log.warning("a registry entry has the tag %s, but not of a form this release writes; left alone", store.PENDING)
        return None


def finish(client: MlflowClient, name: str, number: str, model_id: str | None) -> None:
    """Takes the tag away."""
    if model_id:
        # MLflow's page of the model links its version by this tag
        versions = json.dumps([{"name": name, "version": number}])
        client.set_logged_model_tags(model_id, {"mlflow.modelVersions": versions, store.PENDING: _NO})
    client.delete_model_version_tag(name, number, store.PENDING)


def roll_back(client: MlflowClient, name: str, model_id: str) -> None:
    """Finishes or removes what this process has registered so far."""
    for version in store.versions(client, name):
        if version.tags.get(store.MODEL_ID) == model_id and process_of(version.tags):
            _settle_version(client, version)
    _remove_unless_registered(client, name, model_id)


def _is_anything_left(client: MlflowClient, name: str) -> bool:
    if any(is_dead(key, ticket) for key, ticket in tickets(client, name).items()):
        return True
    left = [process_of(version.tags) for version in store.versions(client, name)]
    left += [process for _, process in _unfinished_models(client, name)]
    return any(process and is_abandoned(process) for process in left)


def settle_registrations(client: MlflowClient, name: str) -> None:
    """Finishes or removes versions and models that dead processes left; only for who holds the turn."""
    for version in store.versions(client, name):
        process = process_of(version.tags)
        if process and is_abandoned(process):
            _settle_version(client, version)
    for model_id, process in _unfinished_models(client, name):
        if process and is_abandoned(process):
            _remove_unless_registered(client, name, model_id)


def _unfinished_models(client: MlflowClient, name: str) -> list[tuple[str, Process | None]]:
    experiment = store.experiment(client, name)
    if experiment is None:
        return []
    unfinished = f"tags.`{store.PENDING}` != '{_NO}'"
    models = client.search_logged_models([experiment.experiment_id], filter_string=unfinished)
    return [(model.model_id, process_of(model.tags)) for model in models]


def _settle_version(client: MlflowClient, version: ModelVersion) -> None:
    """Finishes a version that an alias points at; removes any other."""
    name, number = version.name, str(version.version)
    if number in store.aliases(client, name).values():
        log.warning("version %s of %s was registered by a run that did not finish; completed", number, name)
        finish(client, name, number, version.tags.get(store.MODEL_ID))
    else:
        log.warning("version %s of %s was left half-registered by a run that did not finish; removed", number, name)
        client.delete_model_version(name, number)


def _remove_unless_registered(client: MlflowClient, name: str, model_id: str) -> None:
    if model_id not in {version.tags.get(store.MODEL_ID) for version in store.versions(client, name)}:
        client.delete_logged_model(model_id)
