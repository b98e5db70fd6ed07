"""One at a time: whoever changes aliases or writes to the ledger takes a turn, on this host and on all others.

A turn is a tag of the model's experiment. MLflow has no compare-and-swap, but tags are registers that are read and
written at once, which is all that Lamport's bakery needs ("A new solution of Dijkstra's concurrent programming
problem", 1974): choose a number above all that are there, and wait for the lower ones.

The turn also makes a decision happen once or not at all. It carries the decision before the first alias moves, and goes
when the entry stands in mirror and file. A process that dies in between leaves it, and the next reader settles it: when
the aliases are where the decision wanted them, the entry is written (unless it is there); when not, they go back.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from pydantic import ValidationError

from tasks.registry import mirror, store
from tenuto.errors import RegistryError
from tenuto.processes import Process, is_abandoned, this_process
from tenuto.records import Record
from tenuto.tracing import ledger
from tenuto.tracing.ledger import Decision, Entry

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

LONGEST_SECONDS = 60.0
"""How long a turn is waited for; each lasts as long as some ten calls to MLflow."""
OTHER_HOST_SECONDS = 30.0
"""A turn of another host, which cannot be asked, is taken for a dead process's when it has said nothing for this long.

Measured here from when this process first saw what it says now: the clocks of two hosts are never compared.
"""
REFRESH_SECONDS = 5.0
"""Who waits says so as often; who is at work with every change."""
_TURN = "tenuto.turn."
_GIVEN_UP = "given up"


class Ticket(Record):
    """What the tag of a turn says."""

    process: Process
    place: str
    number: int | None = None
    """None while it is being chosen."""
    decision: Decision | None = None
    """What is about to happen; None before that is known."""
    beat: int = 0
    """Grows with every sign of life."""


_seen: dict[str, tuple[Ticket, float]] = {}
"""What each turn of another host said last, by tag, and when this process first saw it say so."""


@dataclass
class Turn:
    """The right to change the aliases of one model and to write to its ledger."""

    client: MlflowClient
    name: str
    path: Path
    experiment: str
    key: str
    ticket: Ticket

    def carry_out(self, decision: Decision) -> Entry:
        """The entry of `decision`, after the aliases are as it says."""
        self.require()
        self.announce(self.ticket.model_copy(update={"decision": decision}))
        store.move_aliases(self.client, self.name, decision.aliases_before, decision.aliases, self.require)
        self.require()
        return mirror.write(self.client, self.name, self.path, decision)

    def announce(self, ticket: Ticket) -> None:
        """Lets others read the ticket."""
        self.ticket = ticket.model_copy(update={"beat": ticket.beat + 1})
        self.client.set_experiment_tag(self.experiment, self.key, self.ticket.model_dump_json())

    def require(self) -> None:
        """Raises RegistryError when another host took this process for dead and settled what it had announced."""
        if self.key not in tickets(self.client, self.name):
            raise RegistryError(
                f"This process was silent for more than {OTHER_HOST_SECONDS:.0f} seconds while it changed the registry "
                f"of {self.name}, and another host settled what it had begun. Look with `tenuto models`, and run again."
            )


@contextmanager
def turn(client: MlflowClient, name: str, path: Path) -> Iterator[Turn]:
    """The turn of this process at the model `name`, with what dead processes left settled.

    Whatever fails within it leaves aliases and ledger as before, or as after when the entry was written. Raises
    RegistryError when others take longer than a minute.
    """
    experiment = store.require_experiment(client, name)
    ticket = Ticket(process=this_process(), place=ledger.place(path))
    mine = Turn(client, name, path, experiment, f"{_TURN}{uuid4().hex[:12]}", ticket)
    mine.announce(mine.ticket)
    try:
        numbers = [other.number or 0 for other in tickets(client, name).values()]
        mine.announce(mine.ticket.model_copy(update={"number": max(numbers) + 1}))
        _wait(mine)
        settle_dead(mine)
        yield mine
        client.delete_experiment_tag(experiment, mine.key)
    except BaseException:
        _give_up(mine)
        raise


def tickets(client: MlflowClient, name: str) -> dict[str, Ticket]:
    """The tickets of all that wait or are at work, by tag."""
    found = store.experiment(client, name)
    read = {}
    for key, text in (found.tags if found else {}).items():
        if key.startswith(_TURN):
            try:
                read[key] = Ticket.model_validate_json(text)
            except ValidationError:
                log.warning("the experiment %s has the tag %s, but not of a form this release writes", name, key)
    return read


def is_dead(key: str, ticket: Ticket) -> bool:
    """True when the process of the ticket under the tag `key` lives no more, or has been silent for too long."""
    if ticket.process.host == socket.gethostname():
        return is_abandoned(ticket.process)
    said, since = _seen.get(key, (None, 0.0))
    if said != ticket:
        since = time.monotonic()
        _seen[key] = (ticket, since)
    return time.monotonic() - since > OTHER_HOST_SECONDS


def settle_dead(mine: Turn) -> None:
    """Finishes or takes back what dead processes announced."""
    others = {key: ticket for key, ticket in tickets(mine.client, mine.name).items() if key != mine.key}
    dead = {key: ticket for key, ticket in others.items() if is_dead(key, ticket)}
    for key, ticket in sorted(dead.items(), key=lambda item: item[1].number or 0):
        mine.require()
        if ticket.decision is None or _settled(mine, ticket, ticket.decision):
            mine.client.delete_experiment_tag(mine.experiment, key)
            _seen.pop(key, None)


def _settled(mine: Turn, ticket: Ticket, decision: Decision) -> bool:
    """True once nothing is left to do; an entry that only its writer's file lacks is left to that host."""
    client, name = mine.client, mine.name
    if any(ledger.is_same(entry, decision) for entry in mirror.entries(client, name)):
        if ticket.place != ledger.place(mine.path):
            return False
        mirror.write(client, name, mine.path, decision)
    elif store.aliases(client, name) == decision.aliases:
        log.warning("%s of %s was cut off before its entry was written; written now", decision.event, name)
        mirror.write(client, name, mine.path, decision)
    else:
        log.warning("%s of %s was cut off before it took effect; taken back", decision.event, name)
        _take_back(client, name, decision)
    return True


def _take_back(client: MlflowClient, name: str, decision: Decision) -> None:
    """Puts those aliases back that stand where the decision moved them."""
    now = store.aliases(client, name)
    before, after = decision.aliases_before, decision.aliases
    moved = {alias for alias in {*before, *after} if before.get(alias) != now.get(alias) == after.get(alias)}
    restored = {alias: at for alias, at in now.items() if alias not in moved}
    restored |= {alias: before[alias] for alias in moved if alias in before}
    store.move_aliases(client, name, now, restored)


def _give_up(mine: Turn) -> None:
    """Takes back what this process announced and did not finish; an entry that is in MLflow stands."""
    try:
        if mine.key not in tickets(mine.client, mine.name):
            # another host has settled it
            return None
        decision = mine.ticket.decision
        if decision is not None:
            if any(ledger.is_same(entry, decision) for entry in mirror.entries(mine.client, mine.name)):
                process = mine.ticket.process.model_copy(update={"began": _GIVEN_UP})
                return mine.announce(mine.ticket.model_copy(update={"process": process}))
            _take_back(mine.client, mine.name, decision)
        mine.client.delete_experiment_tag(mine.experiment, mine.key)
    except Exception as error:
        log.warning("what this process announced for %s is left to the next reader: %s", mine.name, error)
    return None


def _wait(mine: Turn) -> None:
    began = refreshed = time.monotonic()
    while busy := _before(mine):
        if time.monotonic() - refreshed > REFRESH_SECONDS:
            mine.require()
            mine.announce(mine.ticket)
            refreshed = time.monotonic()
        if time.monotonic() - began > LONGEST_SECONDS:
            raise RegistryError(
                f"Process {busy.process.pid} on {busy.process.host} has been changing the registry of {mine.name} for "
                f"{LONGEST_SECONDS:.0f} seconds. Nothing was changed here; run again, or end that process."
            )
        time.sleep(0.05)


def _before(mine: Turn) -> Ticket | None:
    """A ticket of a living process that is to go first, or that may turn out to; None when it is this turn."""
    own = (mine.ticket.number or 0, mine.key)
    for key, ticket in tickets(mine.client, mine.name).items():
        if key == mine.key or is_dead(key, ticket):
            continue
        if ticket.number is None or (ticket.number, key) < own:
            return ticket
    return None
