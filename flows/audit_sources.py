"""What an audit is answered from: the index, the ledger, and MLflow where these may lack something.

A workspace with a store of its own is asked without any server. Where several hosts share one MLflow, the ledger of
this host knows only what this host wrote, so its mirror in MLflow is read first; importing MLflow for it takes seconds.
Apart from `flows.audit`, which asks the questions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from flows import servers
from tenuto.errors import RegistryError, ServerError
from tenuto.records import Record
from tenuto.settings import Params
from tenuto.tracing import ledger
from tenuto.tracing.audit.index import Index
from tenuto.tracing.ledger import Entry
from tenuto.workspace import Workspace


class AsOf(Record):
    """How far an answer reaches: the ledger's last entry of the model, and whether other hosts were heard."""

    entry: int | None
    at: datetime | None
    store: Literal["own", "shared", "not reached"]
    """'shared': MLflow's copy of the ledger was compared; 'not reached': it could not be: this host alone answers."""
    why: str = ""
    """Why the shared MLflow was not reached."""


@dataclass
class Audit:
    """The open index of a workspace, caught up, and what the ledger or else MLflow says of aliases."""

    workspace: Workspace
    params: Params
    index: Index
    entries: Sequence[Entry]
    aliases: dict[str, dict[str, str]] = field(default_factory=dict)  # per model, alias to version
    asked: set[str] = field(default_factory=set)  # models that MLflow was asked for
    compared: dict[str, AsOf] = field(default_factory=dict)

    @property
    def aliases_from(self) -> str:
        """Who says where the aliases point: 'ledger' or 'MLflow'."""
        return "ledger" if self.entries else "MLflow"

    @property
    def as_of(self) -> AsOf:
        """How far the answers about the workspace's own model reach."""
        return self.compared[self.params.name]


@contextmanager
def opened(workspace: Workspace, params: Params, *, rebuild: bool = False) -> Iterator[Audit]:
    """The audit of a workspace; asks MLflow for what the index lacks, and for everything with `rebuild`."""
    if rebuild:
        workspace.audit_index.unlink(missing_ok=True)
    try:
        with Index.open(workspace.audit_index) as index:
            audit = Audit(workspace, params, index, ledger.read(workspace.ledger))
            for name in sorted({params.name, *(version.model for version in index.versions())}):
                know(audit, name)
            yield audit
    except sqlite3.DatabaseError as error:
        raise RegistryError(
            f"The audit's index {workspace.audit_index} cannot be read ({error}); `tenuto audit --rebuild` makes it "
            "again from MLflow."
        ) from error


def know(audit: Audit, name: str) -> None:
    """Has the ledger and the index know of a model what MLflow knows; once per model."""
    if name in audit.compared:
        return
    store, why = _compare(audit, name)
    audit.aliases |= {entry.model: dict(entry.aliases) for entry in audit.entries}
    if not audit.entries or _is_behind(audit, name):
        ask_mlflow(audit, name)
    last = max(_of(audit, name), key=lambda entry: entry.number, default=None)
    audit.compared[name] = AsOf(entry=last.number if last else None, at=last.at if last else None, store=store, why=why)


def ask_mlflow(audit: Audit, name: str) -> bool:
    """Fills the index with the model's runs and versions; False when that was done before."""
    from tasks import audit as filling

    if name in audit.asked:
        return False
    audit.asked.add(name)
    uri = servers.tracking_uri(audit.workspace, audit.params)
    filling.catch_up(uri, name, audit.workspace.audit_index, _named_runs(_of(audit, name)))
    if not audit.entries:
        audit.aliases[name] = filling.aliases(uri, name)
    return True


def _compare(audit: Audit, name: str) -> tuple[Literal["own", "shared", "not reached"], str]:
    """Takes over what other hosts wrote into a shared MLflow's copy of the ledger; the file stays as it is."""
    try:
        uri = servers.tracking_uri(audit.workspace, audit.params)
    except ServerError as error:
        return "not reached", str(error)
    if _is_own(audit.workspace, uri):
        return "own", ""
    from tasks import audit as filling

    there = {entry.number: entry for entry in filling.entries(uri, name)}
    ours = {entry.number: entry for entry in _of(audit, name)}
    others = [entry for entry in audit.entries if entry.model != name]
    audit.entries = [*others, *(entry for _, entry in sorted((ours | there).items()))]
    return "shared", ""


def _is_own(workspace: Workspace, uri: str) -> bool:
    """Whether the store is this workspace's, in its file or behind the server of `tenuto up`."""
    running = servers.addresses(workspace)
    return uri == servers.own_store(workspace) or bool(running and running.mlflow and running.mlflow.address == uri)


def _is_behind(audit: Audit, name: str) -> bool:
    """Whether the ledger speaks of a run or a version that the index lacks."""
    entries = _of(audit, name)
    if _named_runs(entries) - audit.index.run_ids():
        return True
    named = {entry.version for entry in entries if entry.version} | set(audit.aliases.get(name, {}).values())
    return bool(named - {version.version for version in audit.index.versions(name)})


def _of(audit: Audit, name: str) -> list[Entry]:
    return [entry for entry in audit.entries if entry.model == name]


def _named_runs(entries: Collection[Entry]) -> set[str]:
    return {entry.run_id for entry in entries if entry.run_id}
