"""What is asked of the registry: its versions, the ledger's entries, and whether anybody has touched them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.registry import mirror, pending, store
from tasks.registry.turns import turn
from tenuto.errors import LedgerError
from tenuto.records import Record
from tenuto.tracing import ledger as ledgers
from tenuto.tracing import tampering
from tenuto.tracing.ledger import Entry
from tenuto.tracing.tampering import Breach

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


class Verification(Record):
    """What `tenuto ledger verify` found."""

    entries: int
    """Of the model, in the file."""
    head: str | None
    """Hash of the last of them: written down elsewhere, it witnesses against a consistent rewriting of everything."""
    began_with: dict[str, str]
    """The aliases that were there before the first entry: of a registry that is older than its ledger."""
    elsewhere: tuple[int, ...]
    """Entries of other hosts, which the next entry written here brings along."""
    breaches: tuple[Breach, ...]


def models(tracking_uri: str, name: str) -> list[dict[str, Any]]:
    """One row per finished version of `name`, newest first: version, aliases, verdict and where it came from."""
    client = store.connect(tracking_uri)
    aliases = store.aliases(client, name)
    return [_row(version, aliases) for version in store.versions(client, name) if store.PENDING not in version.tags]


def history(tracking_uri: str, name: str, ledger: Path) -> tuple[Entry, ...]:
    """The entries of the model, what other hosts wrote included; settles first what was cut off.

    Raises LedgerError naming the line of the file that is no entry.
    """
    client = store.connect(tracking_uri)
    pending.settle(client, name, ledger)
    own = [entry for entry in ledgers.read(ledger) if entry.model == name]
    later = mirror.entries(client, name)
    return (*own, *(entry for entry in later if entry.number > (own[-1].number if own else 0)))


def verify(tracking_uri: str, name: str, ledger: Path) -> Verification:
    """What was done to the ledger, its mirror and the aliases behind its back; settles first what was cut off."""
    client = store.connect(tracking_uri)
    if not ledger.exists() and store.experiment(client, name) is None:
        return Verification(entries=0, head=None, began_with={}, elsewhere=(), breaches=())
    with turn(client, name, ledger):
        pending.settle_registrations(client, name)
        own = [entry for entry in ledgers.readable(ledger) if entry.model == name]
        return Verification(
            entries=len(own),
            head=own[-1].sha256 if own else None,
            began_with=own[0].aliases_before if own else {},
            elsewhere=tampering.awaited(
                ledgers.lines(ledger), model=name, mirror=mirror.read(client, name), place=ledgers.place(ledger)
            ),
            breaches=breaches(client, name, ledger),
        )


def breaches(client: MlflowClient, name: str, ledger: Path) -> tuple[Breach, ...]:
    """The same without taking a turn: only for who holds one."""
    return tampering.verify(
        ledgers.lines(ledger),
        ledgers.unfinished(ledger),
        model=name,
        mirror=mirror.read(client, name),
        on_versions=mirror.on_versions(client, name),
        aliases=store.aliases(client, name),
        place=ledgers.place(ledger),
    )


def restore(tracking_uri: str, name: str, ledger: Path) -> Path | None:
    """Makes the model's part of the file again from MLflow; the path that the old file was moved to, if there was one.

    Where MLflow's copies are no whole chain and the file is one, at least as long, they are made again from it, and the
    path is None. Raises LedgerError, and leaves both alone, when neither is whole.
    """
    client = store.connect(tracking_uri)
    with turn(client, name, ledger):
        kept = mirror.read(client, name)
        own = {entry.number: entry for entry in ledgers.readable(ledger) if entry.model == name}
        if kept and tampering.is_chain(kept):
            aside = ledgers.replace(ledger, name, [text for _, text in sorted(kept.items())])
        elif max(own, default=0) >= max(kept, default=1) and tampering.is_chain(
            {number: ledgers.line(entry) for number, entry in own.items()}
        ):
            mirror.copy(client, name, list(own.values()))
            aside = None
        else:
            raise LedgerError(
                f"MLflow holds {len(kept)} entries of the ledger of {name}, and they are no whole chain from the first "
                "on; nor is the file: nothing can be restored. `tenuto ledger verify` says what is wrong."
            )
        mirror.copy_to_versions(client, name)
    return aside


def aliases(tracking_uri: str, name: str) -> dict[str, str]:
    """Alias to version, as the registry has them now."""
    return store.aliases(store.connect(tracking_uri), name)


def _row(version: ModelVersion, aliases: dict[str, str]) -> dict[str, Any]:
    number = str(version.version)
    return {
        "version": number,
        "aliases": sorted(alias for alias, at in aliases.items() if at == number),
        "verdict": version.tags.get("tenuto.verdict"),
        "approval": version.tags.get(store.APPROVAL),
        "erased": version.tags.get(store.ERASED),
        "macro_f1": json.loads(version.tags.get("tenuto.macro_f1", "null")),
        "backbone": version.tags.get("tenuto.backbone"),
        "dataset": version.tags.get("tenuto.dataset_md5"),
        "git": version.tags.get("tenuto.git_commit"),
        "mlflow_run": version.run_id,
        "created": time.strftime("%Y-%m-%d %H:%M", time.localtime(version.creation_timestamp / 1000)),
    }
