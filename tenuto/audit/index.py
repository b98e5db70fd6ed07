"""Which run used which clip how: one SQLite file, made again from MLflow whenever it is deleted.

Clips hardly change between runs, so the file holds no row per run and clip. Each clips table that differs from the one
before is a listing with a number, a run points at its listing, and a clip has a span for each use: from the first to
the last listing in a row that use it so. The last listing's spans stay open. 200 runs over 100,000 clips come to about
as many spans as clips.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from tenuto.audit.documents import RunDocument, VersionDocument

_FORM = 1
"""Raised when the tables change; a file of another form is thrown away and made again."""

_OPEN = 1 << 40
"""The last listing of a span that has not ended."""

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
CREATE TABLE span (
    clip INTEGER, first INTEGER, last INTEGER NOT NULL, use INTEGER NOT NULL, PRIMARY KEY (clip, first)
) WITHOUT ROWID;
"""


class ClipUse(NamedTuple):
    """One row of a run's clips table. `copies` is how many augmented copies were trained on too; None: not recorded."""

    clip_id: str
    label: str
    groups: str  # JSON with sorted keys, as `group_text` makes it
    source: str
    split: str
    copies: int | None = None
    reason: str = ""


class Share(NamedTuple):
    """The clips of one label in one split of a run, and the augmented copies of them when all were recorded."""

    split: str
    label: str
    clips: int
    copies: int | None


class HeardRow(NamedTuple):
    """How many of the clips asked for a run used in one way."""

    run_id: str
    split: str
    clips: int


class KnownClip(NamedTuple):
    """A clip as the index knows it."""

    clip_id: str
    label: str
    groups: dict[str, str]
    source: str


def group_text(groups: dict[str, str | None]) -> str:
    """The groups of a clip as the index stores them; those without a value are left out."""
    return json.dumps({k: v for k, v in sorted(groups.items()) if v}, ensure_ascii=False)


class Index:
    """The open index; use it as `with Index.open(path) as index`. Writers wait for one another."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Index]:
        """The index at `path`; an empty one where there is none, or none of this form, or a damaged one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = _connected(path)
        try:
            yield cls(connection)
        finally:
            connection.close()

    # what is in it

    def run_ids(self) -> set[str]:
        """The ids of the runs that are in the index."""
        return {run_id for (run_id,) in self._db.execute("SELECT run_id FROM run")}

    def runs(self) -> list[RunDocument]:
        """All runs, the oldest first."""
        rows = self._db.execute("SELECT document FROM run")
        return sorted((RunDocument.model_validate_json(text) for (text,) in rows), key=lambda run: run.started_at)

    def run(self, run_id: str | None) -> RunDocument | None:
        row = self._db.execute("SELECT document FROM run WHERE run_id = ?", (run_id,)).fetchone()
        return RunDocument.model_validate_json(row[0]) if row else None

    def versions(self, model: str | None = None) -> list[VersionDocument]:
        """The registered versions, of one model or of all, the oldest first."""
        rows = self._db.execute("SELECT document FROM version WHERE ? IS NULL OR model = ?", (model, model))
        found = [VersionDocument.model_validate_json(text) for (text,) in rows]
        return sorted(found, key=lambda version: (version.model, int(version.version)))

    # filling it

    def add(self, run: RunDocument, clips: Iterable[ClipUse] | None) -> None:
        """Keeps a run and its clips table, both or neither; a run that is in the index already stays as it is."""
        rows = None if clips is None else list(clips)
        with self._writing():
            if self.run(run.run_id) is None:
                listing = None if rows is None else self._listing(rows)
                self._db.execute(
                    "INSERT INTO run (run_id, listing, document) VALUES (?, ?, ?)",
                    (run.run_id, listing, run.model_dump_json()),
                )

    def set_versions(self, model: str, versions: Sequence[VersionDocument]) -> None:
        """Replaces what is known of a model's versions."""
        rows = [(v.model, v.version, v.run_id, v.model_dump_json()) for v in versions]
        with self._writing():
            self._db.execute("DELETE FROM version WHERE model = ?", (model,))
            self._db.executemany("INSERT INTO version VALUES (?, ?, ?, ?)", rows)

    def forget(
        self,
        clip_ids: Collection[str],
        group: tuple[str, str] | None = None,
        *,
        without: Callable[[str], str] | None = None,
    ) -> int:
        """How many clips were removed, their bytes overwritten: those named, and all of `group` (name, value).

        Runs stay; a listing keeps the count of clips that it had. What validation and gate had said is passed through
        `without`, which takes the names out of a text; by default ids, file names and the group's value, where they
        stand as words of their own.
        """
        self._db.execute("PRAGMA secure_delete = ON")
        with self._writing():
            self._db.execute("CREATE TEMP TABLE gone (number INTEGER PRIMARY KEY)")
            self._db.executemany(
                "INSERT OR IGNORE INTO gone SELECT number FROM clip WHERE clip_id = ?", [(c,) for c in clip_ids]
            )
            if group is not None:
                self._db.execute(
                    "INSERT OR IGNORE INTO gone SELECT clip.number FROM clip JOIN member USING (groups) "
                    "WHERE name = ? AND value = ?",
                    group,
                )
            words = self._words_of_gone() | ({group[1]} if group else set()) | set(clip_ids)
            count = self._remove_gone()
            self._scrub(without or _eraser(words))
            self._db.execute("DROP TABLE gone")
        self._db.execute("VACUUM")
        return count

    # asking it

    def clips_of(self, run_id: str) -> list[ClipUse]:
        """The clips of a run as it used them, by split, label and source."""
        return [
            ClipUse(*row)
            for row in self._db.execute(
                f"SELECT clip_id, label, named, source, split, copies, reason {_OF_RUN} ORDER BY split, label, source",
                (run_id,),
            )
        ]

    def shares(self, run_id: str) -> list[Share]:
        """How many clips of each label a run put into each split."""
        rows = self._db.execute(
            f"SELECT split, label, count(*), sum(copies), min(copies IS NOT NULL) {_OF_RUN} GROUP BY split, label",
            (run_id,),
        )
        return [Share(s, label, clips, copies if known else None) for s, label, clips, copies, known in rows]

    def group_shares(self, run_id: str) -> list[tuple[str, str, int]]:
        """(group's name, split, how many of its values) of a run: how many speakers it trained on, say."""
        return self._db.execute(
            "SELECT name, split, count(DISTINCT value) FROM (SELECT DISTINCT clip.groups AS number, split "
            f"{_OF_RUN}) JOIN member ON member.groups = number GROUP BY name, split",
            (run_id,),
        ).fetchall()

    def first_sources(self, run_id: str, most: int) -> dict[tuple[str, str], list[str]]:
        """The first source files, by name, per (split, label) of a run."""
        rows = self._db.execute(
            "SELECT split, label, source FROM (SELECT split, label, source, row_number() OVER "
            f"(PARTITION BY split, label ORDER BY source) AS place {_OF_RUN}) WHERE place <= ?",
            (run_id, most),
        )
        found: dict[tuple[str, str], list[str]] = {}
        for split, label, source in rows:
            found.setdefault((split, label), []).append(source)
        return found

    def listed(self, run_id: str) -> int | None:
        """How many clips the table of a run had, those that were erased since included; None when it left no table."""
        row = self._db.execute(
            "SELECT clips FROM run JOIN listing ON listing.number = run.listing WHERE run_id = ?", (run_id,)
        ).fetchone()
        return row[0] if row else None

    def heard(self, numbers: Collection[int]) -> list[HeardRow]:
        """Per run and split, how many of the clips with these `numbers` it used; runs in the order of the index."""
        with self._chosen(numbers):
            # spans are counted before they meet the runs: a large group has many clips and few kinds of spans
            rows = self._db.execute(
                "WITH kind AS (SELECT first, last, use, count(*) AS clips FROM chosen "
                "JOIN span ON span.clip = chosen.number GROUP BY first, last, use) "
                "SELECT run_id, split, sum(clips) FROM kind JOIN use ON use.number = kind.use "
                "JOIN run ON run.listing BETWEEN kind.first AND kind.last GROUP BY run.number, split"
            ).fetchall()
        return [HeardRow(*row) for row in rows]

    def by_group(self, name: str, value: str) -> list[int]:
        """The numbers of the clips that are, or once were, of a group."""
        rows = self._db.execute(
            "SELECT clip.number FROM member JOIN clip USING (groups) WHERE name = ? AND value = ?", (name, value)
        )
        return [number for (number,) in rows]

    def by_id(self, prefix: str) -> list[int]:
        """The numbers of the clips whose id begins with `prefix`."""
        rows = self._db.execute(
            "SELECT number FROM clip WHERE clip_id >= ? AND clip_id < ?", (prefix, prefix + chr(0x10FFFF))
        )
        return [number for (number,) in rows]

    def by_source(self, source: str) -> list[int]:
        """The numbers of the clips that came from the file `source`: its path in the source, or its bare name."""
        rows = self._db.execute("SELECT number FROM clip WHERE source = ?", (source,)).fetchall() or self._db.execute(
            "SELECT number FROM clip WHERE substr(source, -length(?1) - 1) = '/' || ?1", (source,)
        )
        return [number for (number,) in rows]

    def known(self, numbers: Collection[int]) -> list[KnownClip]:
        """The clips with these numbers, as they were last described, by id."""
        with self._chosen(numbers):
            rows = self._db.execute(
                "SELECT clip_id, label, named, source FROM chosen JOIN clip USING (number) "
                "JOIN groups ON groups.number = clip.groups ORDER BY clip_id, clip.number"
            ).fetchall()
        last = {clip_id: KnownClip(clip_id, label, json.loads(named), source) for clip_id, label, named, source in rows}
        return list(last.values())

    def group_values(self, name: str | None = None) -> list[tuple[str, str]]:
        """The groups that clips are of, as (name, value) in order; of one name or of all."""
        rows = self._db.execute("SELECT DISTINCT name, value FROM member WHERE ?1 IS NULL OR name = ?1", (name,))
        return [(str(name), str(value)) for name, value in rows]

    def sources(self) -> list[str]:
        """The names of all source files, for near misses."""
        return [source for (source,) in self._db.execute("SELECT DISTINCT source FROM clip")]

    # how it is done

    @contextmanager
    def _writing(self) -> Iterator[None]:
        # IMMEDIATE, since a reader that turns writer half-way is refused at once and does not wait
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextmanager
    def _chosen(self, numbers: Collection[int]) -> Iterator[None]:
        self._db.execute("CREATE TEMP TABLE chosen (number INTEGER PRIMARY KEY)")
        try:
            self._db.executemany("INSERT INTO chosen VALUES (?)", [(number,) for number in numbers])
            yield
        finally:
            self._db.execute("DROP TABLE chosen")

    def _listing(self, rows: Sequence[ClipUse]) -> int:
        """The number of the listing with these rows: one that is there, or a new one."""
        sha256 = hashlib.sha256(json.dumps(sorted(rows, key=itemgetter(0))).encode()).hexdigest()
        there = self._db.execute("SELECT number FROM listing WHERE sha256 = ?", (sha256,)).fetchone()
        if there:
            return int(there[0])
        (number,) = self._db.execute("SELECT coalesce(max(number), 0) + 1 FROM listing").fetchone()
        wanted = dict(self._numbered(rows))
        present = dict(self._db.execute("SELECT clip, use FROM span WHERE last = ?", (_OPEN,)))
        ended = [(number - 1, clip) for clip, use in present.items() if wanted.get(clip) != use]
        begun = [(clip, number, _OPEN, use) for clip, use in wanted.items() if present.get(clip) != use]
        self._db.executemany(f"UPDATE span SET last = ? WHERE clip = ? AND last = {_OPEN}", ended)
        self._db.executemany("INSERT INTO span VALUES (?, ?, ?, ?)", begun)
        self._db.execute("INSERT INTO listing VALUES (?, ?, ?)", (number, sha256, len(rows)))
        return int(number)

    def _numbered(self, rows: Sequence[ClipUse]) -> Iterator[tuple[int, int]]:
        """(clip, use) of each row, by the numbers that they have or get."""
        groups = dict(self._db.execute("SELECT named, number FROM groups"))
        uses = {(s, c, r): n for n, s, c, r in self._db.execute("SELECT number, split, copies, reason FROM use")}
        clips = {tuple(row[1:]): row[0] for row in self._db.execute("SELECT * FROM clip")}
        for row in rows:
            if row.groups not in groups:
                groups[row.groups] = self._new_groups(row.groups)
            use = (row.split, row.copies, row.reason)
            if use not in uses:
                uses[use] = self._inserted("INSERT INTO use (split, copies, reason) VALUES (?, ?, ?)", use)
            clip = (row.clip_id, row.label, groups[row.groups], row.source)
            if clip not in clips:
                clips[clip] = self._inserted(
                    "INSERT INTO clip (clip_id, label, groups, source) VALUES (?, ?, ?, ?)", clip
                )
            yield clips[clip], uses[use]

    def _new_groups(self, named: str) -> int:
        number = self._inserted("INSERT INTO groups (named) VALUES (?)", (named,))
        members = [(name, value, number) for name, value in json.loads(named).items()]
        self._db.executemany("INSERT INTO member VALUES (?, ?, ?)", members)
        return number

    def _inserted(self, statement: str, values: Sequence[object]) -> int:
        number = self._db.execute(statement, tuple(values)).lastrowid
        assert number is not None
        return number

    def _words_of_gone(self) -> set[str]:
        rows = self._db.execute("SELECT clip_id, source FROM gone JOIN clip USING (number)").fetchall()
        return {word for row in rows for word in (*row, Path(row[1]).name) if word}

    def _remove_gone(self) -> int:
        # the hash of a listing would tell whether a guessed clip had been in it
        self._db.execute(
            "UPDATE listing SET sha256 = NULL WHERE EXISTS (SELECT 1 FROM span JOIN gone ON gone.number = span.clip "
            "WHERE listing.number BETWEEN span.first AND span.last)"
        )
        self._db.execute("DELETE FROM span WHERE clip IN (SELECT number FROM gone)")
        (count,) = self._db.execute("SELECT count(DISTINCT clip_id) FROM clip JOIN gone USING (number)").fetchone()
        self._db.execute("DELETE FROM clip WHERE number IN (SELECT number FROM gone)")
        self._db.execute("DELETE FROM groups WHERE number NOT IN (SELECT groups FROM clip)")
        self._db.execute("DELETE FROM member WHERE groups NOT IN (SELECT number FROM groups)")
        return int(count)

    def _scrub(self, without: Callable[[str], str]) -> None:
        """Passes the free text in the documents of runs and versions through `without`."""
        for run in self.runs():
            text = run.rewritten(without).model_dump_json()
            self._db.execute("UPDATE run SET document = ? WHERE run_id = ?", (text, run.run_id))
        for version in self.versions():
            text = version.rewritten(without).model_dump_json()
            key = (text, version.model, version.version)
            self._db.execute("UPDATE version SET document = ? WHERE model = ? AND version = ?", key)


_OF_RUN = """
FROM run JOIN span ON run.listing BETWEEN span.first AND span.last JOIN clip ON clip.number = span.clip
JOIN groups ON groups.number = clip.groups JOIN use ON use.number = span.use WHERE run_id = ?
"""


def _eraser(words: Collection[str]) -> Callable[[str], str]:
    longest_first = sorted(words, key=len, reverse=True)
    if not longest_first:
        return lambda text: text
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")
    return lambda text: pattern.sub("(erased)", text)


def _connected(path: Path) -> sqlite3.Connection:
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
