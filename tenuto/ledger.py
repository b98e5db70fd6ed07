"""The record of decisions: append-only JSON lines, each carrying the hash of the one before.

Whoever changes, removes or reorders a line breaks the chain. The ledger lies beside the registry and is the source of
`tenuto history`, of `champion --on`, and of the account of a test set's wear (`tenuto.wear`). It names versions, hashes
and figures, never a clip, a speaker or another group: it outlives an erasure.
"""

from __future__ import annotations

import hashlib
import json
import os
from datetime import datetime
from pathlib import Path
from typing import Literal

from filelock import FileLock
from pydantic import Field, ValidationError

from tenuto.errors import LedgerError
from tenuto.records import Record, VerdictName

Event = Literal["decision", "promotion", "rollback", "approval", "refusal", "erasure", "rotation"]

BEGINNING = "0" * 64
"""What the first entry names as the hash of the one before."""


class Use(Record):
    """One decision taken on a test set: what `tenuto.wear` counts."""

    holdout: str
    level: float = Field(description="the one-sided level that the decision was taken at")
    p_value: float
    is_promotion: bool = Field(description="whether the claim was taken as shown")


class Decision(Record):
    """What happened, before it is written down."""

    at: datetime = Field(description="with its time zone, UTC")
    actor: str = Field(description="who: 'retrain' (the flow), or the person that ran the command")
    event: Event
    model: str
    version: str | None = None
    verdict: VerdictName | None = None
    reasons: tuple[str, ...] = Field(default=(), description="plain: without the names of groups or clips")
    policy_sha256: str | None = None
    evidence: dict[str, str] = Field(default_factory=dict, description="sha256 by name: checkpoint, probabilities ...")
    aliases_before: dict[str, str] = Field(default_factory=dict, description="alias to version")
    aliases: dict[str, str] = Field(default_factory=dict, description="alias to version, after it")
    dataset_md5: str | None = None
    code_commit: str | None = None
    run_id: str | None = Field(default=None, description="MLflow's")
    use: Use | None = None


class Entry(Decision):
    """A decision in the chain."""

    number: int = Field(ge=1)
    previous: str = Field(description="sha256 of the entry before")
    sha256: str


def append(path: Path, decision: Decision) -> Entry:
    """The entry that `decision` became, on disk when this returns; writers wait for one another.

    Raises LedgerError when the ledger cannot be read.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        entries = read(path)
        entry = chained(decision, entries[-1] if entries else None)
        with path.open("a", encoding="utf-8") as file:
            file.write(entry.model_dump_json() + "\n")
            file.flush()
            os.fsync(file.fileno())
    return entry


def read(path: Path) -> tuple[Entry, ...]:
    """All entries in the order of the file; none when there is no file.

    Does not verify the chain. Raises LedgerError naming the line that is no entry.
    """
    if not path.is_file():
        return ()
    entries = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            entries.append(Entry.model_validate_json(line))
        except ValidationError as error:
            raise LedgerError(f"{path}, line {number} is no entry; `tenuto ledger verify` says more.") from error
    return tuple(entries)


def chained(decision: Decision, last: Entry | None) -> Entry:
    """The decision as the entry after `last`."""
    content = decision.model_dump(mode="json")
    number, previous = (last.number + 1, last.sha256) if last else (1, BEGINNING)
    return Entry(**content, number=number, previous=previous, sha256=_sha256(content, number, previous))


def _sha256(content: dict[str, object], number: int, previous: str) -> str:
    text = json.dumps({**content, "number": number, "previous": previous}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
