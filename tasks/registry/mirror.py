"""The ledger's mirror: every entry as a tag of the model's experiment, and of the version that it is about.

The mirror is written before the file. So the file can be made again from it, several hosts that use one MLflow share
one chain (each takes over what the others wrote), and a line that only the file has was not written by Tenuto.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from tasks.registry import store
from tenuto.tracing import ledger
from tenuto.tracing.ledger import BEGINNING, Decision, Entry

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

log = logging.getLogger(__name__)


def read(client: MlflowClient, name: str) -> dict[int, str]:
    """Every entry of the model as MLflow has it, as text, by the number in the tag's name."""
    found = store.experiment(client, name)
    return _of_tags(found.tags if found else {})


def on_versions(client: MlflowClient, name: str) -> dict[int, str]:
    """Every entry that a version carries, as text, by number."""
    found: dict[int, str] = {}
    for version in store.versions(client, name):
        found |= _of_tags(version.tags)
    return found


def entries(client: MlflowClient, name: str) -> list[Entry]:
    """The entries of the mirror, by number; a tag that is none is left out and said."""
    found = store.experiment(client, name)
    return entries_of(found) if found else []


def entries_of(experiment: Experiment) -> list[Entry]:
    """The same of an experiment that is there already."""
    found, name = [], experiment.name
    for number, text in sorted(_of_tags(experiment.tags).items()):
        try:
            found.append(Entry.model_validate_json(text))
        except ValidationError:
            log.warning("MLflow's copy of entry %d of %s is no entry; `tenuto ledger verify` says more", number, name)
    return found


def write(client: MlflowClient, name: str, path: Path, decision: Decision) -> Entry:
    """The entry that `decision` became, in MLflow and in the file; only for who holds the model's turn.

    A decision that is there already is not written again.
    """
    there, own = entries(client, name), _of_model(path, name)
    if own and not there:
        there = _copied_to_mirror(client, name, own)
    take_over(path, name, there)
    entry = next((entry for entry in there if ledger.is_same(entry, decision)), None)
    if entry is None:
        last = max([*own, *there], key=lambda entry: entry.number, default=None)
        entry = ledger.chained(decision, last, ledger.place(path))
        _set(client, store.require_experiment(client, name), entry)
    mark(client, name, entry)
    if entry not in _of_model(path, name):
        ledger.add(path, [entry])
    return entry


def take_over(path: Path, name: str, there: Sequence[Entry]) -> None:
    """Adds to the file what the mirror has beyond its end, when it goes on from there."""
    own = _of_model(path, name)
    last = own[-1] if own else None
    later = []
    for entry in there:
        if entry.number <= (last.number if last else 0):
            continue
        if entry.previous != (last.sha256 if last else BEGINNING):
            log.warning("entry %d of %s in MLflow does not go on from %s", entry.number, name, path)
            break
        later.append(entry)
        last = entry
    ledger.add(path, later)


def copy(client: MlflowClient, name: str, own: Sequence[Entry]) -> None:
    """Writes the mirror's copies of these entries."""
    experiment = store.require_experiment(client, name)
    for entry in own:
        _set(client, experiment, entry)


def copy_to_versions(client: MlflowClient, name: str) -> None:
    """Makes the copies that versions carry the mirror's, where they differ."""
    kept = read(client, name)
    for version in store.versions(client, name):
        for number, text in _of_tags(version.tags).items():
            if number in kept and kept[number] != text:
                client.set_model_version_tag(name, str(version.version), tag(number), kept[number])


def mark(client: MlflowClient, name: str, entry: Entry) -> None:
    """Tags the version that the entry is about with it, and with how its approval came out."""
    if entry.version is None:
        return
    client.set_model_version_tag(name, entry.version, tag(entry.number), ledger.line(entry))
    if entry.event in ("approval", "refusal"):
        done = "approved" if entry.event == "approval" else store.REFUSED
        client.set_model_version_tag(name, entry.version, store.APPROVAL, f"{done} by {entry.actor}")


def _of_tags(tags: Mapping[str, str]) -> dict[int, str]:
    texts = {key.removeprefix(store.LEDGER): text for key, text in tags.items() if key.startswith(store.LEDGER)}
    return {int(number): texts[number] for number in sorted(texts) if number.isdecimal()}


def _of_model(path: Path, name: str) -> list[Entry]:
    return [entry for entry in ledger.readable(path) if entry.model == name]


def _copied_to_mirror(client: MlflowClient, name: str, own: Sequence[Entry]) -> list[Entry]:
    """A store without any entry is a new one; the ledger goes with its file."""
    log.warning("MLflow has no entry of the ledger of %s; it gets the %d of the file", name, len(own))
    copy(client, name, own)
    return list(own)


def _set(client: MlflowClient, experiment: str, entry: Entry) -> None:
    client.set_experiment_tag(experiment, tag(entry.number), ledger.line(entry))


def tag(number: int) -> str:
    """The name of the tag that carries an entry."""
    return f"{store.LEDGER}{number:06d}"
