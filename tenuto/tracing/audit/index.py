"""Which run used which clip how: one SQLite file, made again from MLflow whenever it is deleted.

Clips hardly change between runs, so the file holds no row per run and clip. Each clips table that differs from the one
before is a listing with a number, a run points at its listing, and a clip has a span for each use: from the first to
the last listing in a row that use it so. The last listing's spans stay open. 200 runs over 100,000 clips come to about
as many spans as clips.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tenuto.tracing.audit import database, forgetting, listings
from tenuto.tracing.audit.documents import RunDocument, VersionDocument
from tenuto.tracing.audit.listings import ClipUse


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
        connection = database.connected(path)
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

    def add(
        self, run: RunDocument, clips: Iterable[ClipUse] | None, weights: Mapping[tuple[str, str], float] | None = None
    ) -> None:
        """Keeps a run and its clips table, both or neither; a run that is in the index already stays as it is.

        `weights` are those of an uneven weighting, by (label, `group_text`): clips alike in both count alike.
        """
        rows = None if clips is None else list(clips)
        with self._writing():
            if self.run(run.run_id) is None:
                listing = None if rows is None else listings.number(self._db, rows)
                row = (run.run_id, listing, run.model_dump_json())
                self._db.execute("INSERT INTO run (run_id, listing, document) VALUES (?, ?, ?)", row)
                self._db.executemany(
                    "INSERT INTO weight SELECT run.number, ?, groups.number, ? FROM run, groups "
                    "WHERE run_id = ? AND named = ?",
                    [(label, weight, run.run_id, named) for (label, named), weight in (weights or {}).items()],
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
            words, count = forgetting.forget(self._db, clip_ids, group)
            self._rewrite(without or forgetting.eraser(words))
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

    def weights(self, run_id: str) -> dict[tuple[str, str], float]:
        """What the clips of a run with an uneven weighting counted, by (label, `group_text`)."""
        rows = self._db.execute(
            "SELECT label, named, weight FROM weight JOIN run ON run.number = weight.run "
            "JOIN groups ON groups.number = weight.groups WHERE run_id = ?",
            (run_id,),
        )
        return {(label, named): weight for label, named, weight in rows}

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

    def _rewrite(self, without: Callable[[str], str]) -> None:
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
