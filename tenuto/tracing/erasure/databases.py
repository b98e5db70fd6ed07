"""Her name taken out of SQLite files, and out of the pages that SQLite has freed and not yet overwritten.

The workspace's MLflow and Prefect stores are such files. What their servers' interfaces cannot change (parameters,
logs, artifacts of flow runs, events) is changed here, in one transaction, whether a server runs on the file or not.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from tenuto.tracing.erasure.identities import Identities

_BUSY_SECONDS = 30.0

MLFLOW: Mapping[str, tuple[str, ...]] = {
    "params": ("value",),
    "tags": ("value",),
    "experiment_tags": ("value",),
    "runs": ("name",),
    "registered_models": ("description",),
    "registered_model_tags": ("value",),
    "model_versions": ("description",),
    "model_version_tags": ("value",),
    "logged_model_tags": ("tag_value",),
    "logged_model_params": ("param_value",),
}
"""The columns of MLflow's tables that hold free text."""

PREFECT: Mapping[str, tuple[str, ...]] = {
    "artifact": ("data", "metadata_", "description"),
    "artifact_collection": ("data", "metadata_", "description"),
    "log": ("message",),
    "flow_run": ("name", "parameters"),
    "flow_run_state": ("message", "data"),
    "task_run": ("name",),
    "task_run_state": ("message", "data"),
    "events": ("payload", "resource", "related"),
    "event_resources": ("resource",),
}
"""The columns of Prefect's tables that hold free text."""


def names(path: Path, columns: Mapping[str, tuple[str, ...]], who: Identities) -> int:
    """How many cells name her; 0 when there is no such file."""
    if not path.is_file():
        return 0
    with closing(_opened(path, who)) as database:
        return sum(
            int(database.execute(f'SELECT count(*) FROM "{table}" WHERE names("{column}")').fetchone()[0])
            for table, column in _present(database, columns)
        )


def scrub(path: Path, columns: Mapping[str, tuple[str, ...]], who: Identities) -> int:
    """How many cells were rewritten; 0 when there is no such file.

    The file is then written anew, so that no freed page and no log holds what was there. Raises sqlite3.Error when
    somebody else keeps the file locked for half a minute.
    """
    if not path.is_file():
        return 0
    with closing(_opened(path, who)) as database:
        database.execute("PRAGMA secure_delete = ON")
        database.execute("BEGIN IMMEDIATE")
        changed = sum(
            database.execute(f'UPDATE "{table}" SET "{column}" = without("{column}") WHERE names("{column}")').rowcount
            for table, column in _present(database, columns)
        )
        database.execute("COMMIT")
        for statement in ("PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
            busy = database.execute(statement).fetchone()
            if busy and busy[0]:
                raise sqlite3.OperationalError("a server is reading it, so its log could not be emptied")
    return changed


def _opened(path: Path, who: Identities) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    database.create_function("names", 1, lambda cell: who.are_in(_text(cell)), deterministic=True)
    database.create_function("without", 1, lambda cell: who.without(_text(cell)), deterministic=True)
    return database


def _text(cell: object) -> str:
    return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell or "")


def _present(database: sqlite3.Connection, columns: Mapping[str, tuple[str, ...]]) -> list[tuple[str, str]]:
    """The (table, column) pairs that this release of the library has."""
    return [
        (table, column)
        for table, wanted in columns.items()
        for _, column, *_ in database.execute(f'PRAGMA table_info("{table}")').fetchall()
        if column in wanted
    ]
