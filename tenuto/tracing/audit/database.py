"""The SQLite file of the audit's index: its tables, and how it is opened and made again when it is damaged."""

from __future__ import annotations

import sqlite3
from pathlib import Path

_FORM = 2
"""Raised when the tables change; a file of another form is thrown away and made again."""

_BUSY_SECONDS = 60.0
_SCHEMA = """
CREATE TABLE run (number INTEGER PRIMARY KEY, run_id TEXT UNIQUE NOT NULL, listing INTEGER, document TEXT NOT NULL);
CREATE TABLE version (
    model TEXT NOT NULL, version TEXT NOT NULL, run_id TEXT, document TEXT NOT NULL, PRIMARY KEY (model, version)
) WITHOUT ROWID;
CREATE TABLE listing (number INTEGER PRIMARY KEY, sha256 TEXT UNIQUE, clips INTEGER NOT NULL);
CREATE TABLE groups (number INTEGER PRIMARY KEY, named TEXT UNIQUE NOT NULL);
CREATE TABLE member (name TEXT, value TEXT, groups INTEGER, PRIMARY KEY (name, value, groups)) WITHOUT ROWID;
CREATE TABLE clip (number INTEGER PRIMARY KEY, clip_id TEXT NOT NULL, label TEXT, groups INTEGER, source TEXT);
CREATE INDEX clip_by_id ON clip (clip_id);
CREATE INDEX clip_by_groups ON clip (groups);
CREATE INDEX clip_by_source ON clip (source);
CREATE TABLE use (number INTEGER PRIMARY KEY, split TEXT NOT NULL, copies INTEGER, reason TEXT NOT NULL);
CREATE TABLE weight (
    run INTEGER, label TEXT, groups INTEGER, weight REAL NOT NULL, PRIMARY KEY (run, label, groups)
) WITHOUT ROWID;
CREATE TABLE span (
    clip INTEGER, first INTEGER, last INTEGER NOT NULL, use INTEGER NOT NULL, PRIMARY KEY (clip, first)
) WITHOUT ROWID;
"""


def connected(path: Path) -> sqlite3.Connection:
    """A connection to the index at `path`; an empty one where there is none, or none of this form, or a damaged one."""
    connection = _connection(path)
    try:
        (form,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.OperationalError:  # busy, or on a disk that cannot be read: neither is damage
        connection.close()
        raise
    except sqlite3.DatabaseError:
        form = -1
    if form not in (0, _FORM):
        connection.close()
        path.unlink()
        connection = _connection(path)
    if form != _FORM:
        _set_up(connection)
    connection.execute("PRAGMA cache_size = -65536")
    return connection


def _connection(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def _set_up(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    # another process may have been first
    if connection.execute("PRAGMA user_version").fetchone() == (0,):
        for statement in _SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {_FORM}")
    connection.execute("COMMIT")
