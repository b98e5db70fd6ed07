"""Takes clips out of the index, so that no row names them."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Collection
from pathlib import Path


def forget(db: sqlite3.Connection, clip_ids: Collection[str], group: tuple[str, str] | None) -> tuple[set[str], int]:
    """The names of what was removed (ids, files, the group's value), and how many clips; inside a transaction."""
    db.execute("CREATE TEMP TABLE gone (number INTEGER PRIMARY KEY)")
    db.executemany("INSERT OR IGNORE INTO gone SELECT number FROM clip WHERE clip_id = ?", [(c,) for c in clip_ids])
    if group is not None:
        db.execute(
            "INSERT OR IGNORE INTO gone SELECT clip.number FROM clip JOIN member USING (groups) "
            "WHERE name = ? AND value = ?",
            group,
        )
    words = _words_of_gone(db) | ({group[1]} if group else set()) | set(clip_ids)
    count = _remove_gone(db)
    db.execute("DROP TABLE gone")
    return words, count


def eraser(words: Collection[str]) -> Callable[[str], str]:
    """A function that puts `(erased)` in the place of the words, where they stand as words of their own."""
    longest_first = sorted(words, key=len, reverse=True)
    if not longest_first:
        return lambda text: text
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")
    return lambda text: pattern.sub("(erased)", text)


def _words_of_gone(db: sqlite3.Connection) -> set[str]:
    rows = db.execute("SELECT clip_id, source FROM gone JOIN clip USING (number)").fetchall()
    return {word for row in rows for word in (*row, Path(row[1]).name) if word}


def _remove_gone(db: sqlite3.Connection) -> int:
    # the hash of a listing would tell whether a guessed clip had been in it
    db.execute(
        "UPDATE listing SET sha256 = NULL WHERE EXISTS (SELECT 1 FROM span JOIN gone ON gone.number = span.clip "
        "WHERE listing.number BETWEEN span.first AND span.last)"
    )
    db.execute("DELETE FROM span WHERE clip IN (SELECT number FROM gone)")
    (count,) = db.execute("SELECT count(DISTINCT clip_id) FROM clip JOIN gone USING (number)").fetchone()
    db.execute("DELETE FROM clip WHERE number IN (SELECT number FROM gone)")
    db.execute("DELETE FROM groups WHERE number NOT IN (SELECT groups FROM clip)")
    db.execute("DELETE FROM member WHERE groups NOT IN (SELECT number FROM groups)")
    db.execute("DELETE FROM weight WHERE groups NOT IN (SELECT number FROM groups)")
    return int(count)
