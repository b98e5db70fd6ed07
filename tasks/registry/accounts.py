"""What is left of a test set, by ledgers that nobody has touched: the file, its copies in MLflow, all of its models.

A changed p-value or a line taken away would give a worn test set a fresh account. So the chain and the copies are
verified before anything is counted; an alias that somebody moved by hand is none of the account's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.registry import mirror, pending, store
from tasks.registry.readings import breaches
from tasks.registry.turns import turn
from tenuto.deciding import wear
from tenuto.deciding.policy import WearSettings
from tenuto.errors import LedgerError
from tenuto.records import Account
from tenuto.splitting.holdout import Holdout
from tenuto.tracing import ledger as ledgers
from tenuto.tracing.ledger import Entry
from tenuto.tracing.tampering import Breach

if TYPE_CHECKING:
    from mlflow import MlflowClient

_OF_OTHERS = ("edited", "deleted", "inserted", "reordered")
"""What is held against the entries of other models in the file, which may have their copies in another store."""


def account(tracking_uri: str, name: str, ledger: Path, settings: WearSettings, holdout: Holdout) -> Account:
    """What is left of the present test set before its next decision, whichever model and host asked it before.

    Counts what `name` did (all hosts that share the MLflow), what other models did by the file `ledger` and their
    copies, and what this very file held before it was deleted. Settles first what was cut off. Raises LedgerError when
    file or copies were touched, or when the test set came by a rotation that no entry tells of.
    """
    client = store.connect(tracking_uri)
    if not ledger.exists() and store.experiment(client, name) is None:
        found = entries(client, name, ledger)
    else:
        with turn(client, name, ledger):
            pending.settle_registrations(client, name)
            _check(client, name, ledger)
            found = entries(client, name, ledger)
    return wear.account(found, settings, holdout.generation, _since(found, holdout))


def entries(client: MlflowClient, name: str, path: Path) -> list[Entry]:
    """All entries that may tell of uses of the workspace's test sets, in the order of models and numbers.

    Those of the file and, over them, MLflow's copies: of `name` and of the models in the file all, of others those that
    were written to this very file. Verifies nothing.
    """
    found = {(entry.model, entry.number): entry for entry in ledgers.readable(path)}
    known, here = {name, *(model for model, _ in found)}, ledgers.place(path)
    for experiment in store.experiments(client, mirror.tag(1)):
        for entry in mirror.entries_of(experiment):
            if entry.model in known or entry.place == here:
                found[entry.model, entry.number] = entry
    return [found[key] for key in sorted(found)]


def _check(client: MlflowClient, name: str, path: Path) -> None:
    """Raises LedgerError naming the first breach of the chains or their copies."""
    copies = {**mirror.on_versions(client, name), **mirror.read(client, name)}
    # a store without any copy is a new one, which gets them with the next entry
    own = [b for b in breaches(client, name, path) if b.kind != "alias" and (b.kind != "mirror" or copies)]
    models = {entry.model for entry in ledgers.readable(path)} - {name}
    of_others = [b for model in sorted(models) for b in breaches(client, model, path) if b.kind in _OF_OTHERS]
    for breach in (*own, *of_others):
        raise _touched(breach, path)


def _touched(breach: Breach, path: Path) -> LedgerError:
    return LedgerError(
        f"{path} or its copy in MLflow was touched: {breach.what}. Nobody can say how often the test set was used, so "
        "nothing is decided. `tenuto ledger verify` says all that was done, and `tenuto ledger restore` brings back "
        "what is whole; for another model, with --set name=NAME."
    )


def _since(found: Sequence[Entry], holdout: Holdout) -> datetime | None:
    """When the present test set came; None for the first. Raises LedgerError when the ledger knows nothing of it."""
    if not holdout.rotations or not found:
        return None
    last = holdout.rotations[-1].at
    if not any(entry.event == "rotation" and entry.at == last for entry in found):
        raise LedgerError(
            f"holdout.yaml has a rotation of {last:%Y-%m-%d %H:%M:%S}, and the ledger has no entry of it: it was "
            "written by hand, or where the MLflow is another. It opens no new account. Take it back with git, or bring "
            "in a fresh test set with `tenuto holdout rotate`."
        )
    return last
