"""Writes a run's clips table into the index as what changed since the table before.

A listing is a clips table that differs from the last one; a span is a clip's use from one listing to another.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import NamedTuple

_OPEN = 1 << 40
"""The last listing of a span that has not ended."""


class ClipUse(NamedTuple):
    """One row of a run's clips table. `copies` is how many augmented copies were trained on too; None: not recorded."""

    clip_id: str
    label: str
    groups: str  # JSON with sorted keys, as `group_text` makes it
    source: str
    split: str
    copies: int | None = None
    reason: str = ""


def number(db: sqlite3.Connection, rows: Sequence[ClipUse]) -> int:
    """The number of the listing with these rows: one that is there, or a new one."""
    sha256 = hashlib.sha256(json.dumps(sorted(rows, key=itemgetter(0))).encode()).hexdigest()
    there = db.execute("SELECT number FROM listing WHERE sha256 = ?", (sha256,)).fetchone()
    if there:
        return int(there[0])
    (number,) = db.execute("SELECT coalesce(max(number), 0) + 1 FROM listing").fetchone()
    wanted = dict(_numbered(db, rows))
    present = dict(db.execute("SELECT clip, use FROM span WHERE last = ?", (_OPEN,)))
    ended = [(number - 1, clip) for clip, use in present.items() if wanted.get(clip) != use]
    begun = [(clip, number, _OPEN, use) for clip, use in wanted.items() if present.get(clip) != use]
    db.executemany(f"UPDATE span SET last = ? WHERE clip = ? AND last = {_OPEN}", ended)
    db.executemany("INSERT INTO span VALUES (?, ?, ?, ?)", begun)
    db.execute("INSERT INTO listing VALUES (?, ?, ?)", (number, sha256, len(rows)))
    return int(number)


def _numbered(db: sqlite3.Connection, rows: Sequence[ClipUse]) -> Iterator[tuple[int, int]]:
    """(clip, use) of each row, by the numbers that they have or get."""
    groups = dict(db.execute("SELECT named, number FROM groups"))
    uses = {(s, c, r): n for n, s, c, r in db.execute("SELECT number, split, copies, reason FROM use")}
    clips = {tuple(row[1:]): row[0] for row in db.execute("SELECT * FROM clip")}
    for row in rows:
        if row.groups not in groups:
            groups[row.groups] = _new_groups(db, row.groups)
        use = (row.split, row.copies, row.reason)
        if use not in uses:
            uses[use] = _inserted(db, "INSERT INTO use (split, copies, reason) VALUES (?, ?, ?)", use)
        clip = (row.clip_id, row.label, groups[row.groups], row.source)
        if clip not in clips:
            clips[clip] = _inserted(db, "INSERT INTO clip (clip_id, label, groups, source) VALUES (?, ?, ?, ?)", clip)
        yield clips[clip], uses[use]


def _new_groups(db: sqlite3.Connection, named: str) -> int:
    number = _inserted(db, "INSERT INTO groups (named) VALUES (?)", (named,))
    members = [(name, value, number) for name, value in json.loads(named).items()]
    db.executemany("INSERT INTO member VALUES (?, ?, ?)", members)
    return number


def _inserted(db: sqlite3.Connection, statement: str, values: Sequence[object]) -> int:
    number = db.execute(statement, tuple(values)).lastrowid
    assert number is not None
    return number
