"""The record of decisions: append-only JSON lines, each carrying the hash of the one before it of the same model.

Whoever changes, removes or reorders a line breaks the chain (`tenuto.tracing.tampering` says where). The ledger lies
beside the registry, which mirrors it as tags; it is the source of `tenuto history`, of `champion --on`, and of the
account of a test set's wear (`tenuto.deciding.wear`). It names versions, hashes and figures, never a clip, a speaker or
another group: it outlives an erasure.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import socket
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock
from pydantic import Field, ValidationError

from tenuto.errors import LedgerError
from tenuto.records import Record, VerdictName

log = logging.getLogger(__name__)

Event = Literal["decision", "promotion", "rollback", "approval", "refusal", "erasure", "rotation", "evidence"]

BEGINNING = "0" * 64
"""What the first entry names as the hash of the one before."""
LONGEST_CHARACTERS = 5000
"""An entry as JSON, so that any MLflow server takes it as a tag."""
_ROOM_FOR_CHAIN = 300
_SHORTEST_REASON = 60


class Use(Record):
    """One decision taken on a test set: what `tenuto.deciding.wear` counts."""

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


class Grounds(Record):
    """What the verdict of one run rests on."""

    run_id: str = Field(description="MLflow's")
    dataset_md5: str | None = None
    code_commit: str | None = None
    evidence: dict[str, str] = Field(default_factory=dict, description="sha256 by name: checkpoint, probabilities ...")
    plain_reasons: tuple[str, ...] = Field(
        default=(), description="instead of those of the rules, for a run that ended before any rule was judged"
    )


class Entry(Decision):
    """A decision in the chain of its model."""

    place: str = Field(default="", description="which ledger it was written to first (`place`)")
    number: int = Field(ge=1)
    previous: str = Field(description="sha256 of the model's entry before")
    sha256: str


def append(path: Path, decision: Decision) -> Entry:
    """The entry that `decision` became, on disk when this returns; writers wait for one another.

    Writes the file alone: what belongs to a registry goes through `tasks.registry.record`, which mirrors it there.
    """
    with FileLock(_lock(path)):
        own = [entry for entry in readable(path) if entry.model == decision.model]
        entry = chained(decision, own[-1] if own else None, place(path))
        _add_lines(path, [line(entry)])
    return entry


def add(path: Path, entries: Iterable[Entry]) -> None:
    """Puts entries that exist already at the end of the file; a half-written last line gives way to them."""
    if lines := [line(entry) for entry in entries]:
        with FileLock(_lock(path)):
            _add_lines(path, lines)


def replace(path: Path, model: str, texts: Iterable[str]) -> Path | None:
    """Puts `texts` in the place of all lines that are not of other models; where the old file was moved to, if any."""
    with FileLock(_lock(path)):
        others = [line(entry) for entry in readable(path) if entry.model != model]
        fresh = path.with_suffix(".fresh")
        fresh.unlink(missing_ok=True)
        _add_lines(fresh, [*others, *texts])
        aside = path.with_suffix(f".touched-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.jsonl") if path.exists() else None
        if aside:
            path.replace(aside)
        fresh.replace(path)
    return aside


def read(path: Path) -> tuple[Entry, ...]:
    """All entries in the order of the file; none when there is no file.

    A last line without its end is one that a power cut left half-written, and not an entry. Does not verify the chain.
    Raises LedgerError naming the line that is no entry.
    """
    entries = []
    for number, text in enumerate(lines(path), start=1):
        try:
            entries.append(Entry.model_validate_json(text))
        except ValidationError as error:
            raise LedgerError(
                f"{path}, line {number} is no entry; `tenuto ledger verify` says what was done to the ledger, and "
                "`tenuto ledger restore` brings it back from MLflow."
            ) from error
    return tuple(entries)


def readable(path: Path) -> list[Entry]:
    """The entries among the lines; a ledger that somebody touched can still be continued."""
    found = []
    for text in lines(path):
        try:
            found.append(Entry.model_validate_json(text))
        except ValidationError:
            log.warning("%s has a line that is no entry; `tenuto ledger verify` says more", path)
    return found


def lines(path: Path) -> list[str]:
    """The finished lines of the file, without their ends; a person's reason may hold characters that end other lines.

    Bytes that are no text come as replacement characters, and so as a line that is no entry.
    """
    if not path.is_file():
        return []
    return path.read_bytes().decode("utf-8", errors="replace").split("\n")[:-1]


def unfinished(path: Path) -> str:
    """What stands behind the last line end: '' unless a write was cut off or somebody cut the file."""
    return _rest(path).decode("utf-8", errors="replace")


def chained(decision: Decision, last: Entry | None, written_at: str = "") -> Entry:
    """The decision as the entry after `last`; reasons are shortened when it would be too long for a tag."""
    content = shortened(decision).model_dump(mode="json")
    number, previous = (last.number + 1, last.sha256) if last else (1, BEGINNING)
    content |= {"place": written_at, "number": number, "previous": previous}
    return Entry(**content, sha256=content_sha256(content))


def content_sha256(content: dict[str, Any]) -> str:
    """The hash of an entry's fields, `sha256` itself left out.

    Taken over the fields that are there: an entry stays valid when a later release adds one.
    """
    fields = {name: value for name, value in content.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(fields, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def line(entry: Entry) -> str:
    """The entry as it stands in the file and in its mirror."""
    return entry.model_dump_json()


def shortened(decision: Decision) -> Decision:
    """The decision with its longest reasons cut until it fits a tag."""
    while len(decision.model_dump_json()) > LONGEST_CHARACTERS - _ROOM_FOR_CHAIN and decision.reasons:
        reasons = list(decision.reasons)
        longest = max(range(len(reasons)), key=lambda i: len(reasons[i]))
        if len(reasons[longest]) <= _SHORTEST_REASON:
            reasons = [*reasons[: len(reasons) // 2], "..."] if len(reasons) > 2 else []
        else:
            reasons[longest] = reasons[longest][: max(_SHORTEST_REASON - 3, len(reasons[longest]) // 2)] + "..."
        decision = decision.model_copy(update={"reasons": tuple(reasons)})
    return decision


def is_same(one: Decision, other: Decision) -> bool:
    """True when both tell of one event: what was cut off after it was written must not be written again."""
    return (one.at, one.event, one.actor, one.model, one.version) == (
        other.at,
        other.event,
        other.actor,
        other.model,
        other.version,
    )


def place(path: Path) -> str:
    """Which ledger this is: short hash of host and path, so that an entry is known that was written here and is gone.

    Hosts that share one registry have a file each, and take over what the others wrote.
    """
    return hashlib.sha256(f"{socket.gethostname()}\0{path.resolve()}".encode()).hexdigest()[:12]


def _lock(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_suffix(".lock")


def _add_lines(path: Path, lines: list[str]) -> None:
    with path.open("a+b") as file:
        size = file.seek(0, os.SEEK_END)
        if cut := len(_rest(path)):
            log.warning("%s ends in half a line, which is taken away", path)
            file.truncate(size - cut)
        file.write("".join(text + "\n" for text in lines).encode())
        file.flush()
        os.fsync(file.fileno())


def _rest(path: Path) -> bytes:
    return path.read_bytes().rpartition(b"\n")[2] if path.is_file() else b""
