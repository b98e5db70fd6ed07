"""Which version answered which request: what an audit of a served prediction starts from.

One row per prediction in a SQLite file beside the registry. It holds no audio and no name: the request's id leads to a
version, and the version to the recordings that trained it. Whoever serves a version writes the log, by calling `record`
for every answer; nothing in this release serves, so without such a caller there is no log.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from tenuto.errors import RegistryError
from tenuto.records import Record

_BUSY_SECONDS = 10.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS served (
    request_id TEXT PRIMARY KEY, at TEXT NOT NULL, model TEXT NOT NULL, version TEXT NOT NULL,
    label TEXT NOT NULL, probability REAL NOT NULL
) WITHOUT ROWID
"""


class Served(Record):
    """One prediction that was given to somebody."""

    request_id: str
    at: datetime = Field(description="with its time zone")
    model: str
    version: str
    label: str
    probability: float = Field(ge=0, le=1, description="of the label")


def record(path: Path, served: Served) -> None:
    """Keeps a prediction, on disk when this returns; raises ValueError when its request id was used before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    row = served.model_dump() | {"at": served.at.astimezone(UTC).isoformat()}
    with _log(path) as log:
        log.execute(_SCHEMA)
        try:
            log.execute("INSERT INTO served VALUES (:request_id, :at, :model, :version, :label, :probability)", row)
        except sqlite3.IntegrityError as error:
            raise ValueError(f"a prediction with the request id {served.request_id!r} was recorded before") from error


def find(path: Path, request_id: str) -> Served:
    """The prediction that answered `request_id`.

    Raises RegistryError when nothing was served yet, or nothing under this id.
    """
    if not path.is_file():
        raise RegistryError(
            f"There is no log of served predictions ({path} is not there), so request {request_id!r} cannot be looked "
            "up. Whoever serves a version writes it with `tenuto.tracing.served.record`; nothing in this release "
            "serves yet. `tenuto audit MODEL/VERSION` starts from a version."
        )
    with _log(path) as log:
        log.execute(_SCHEMA)
        row = log.execute("SELECT * FROM served WHERE request_id = ?", (request_id,)).fetchone()
        if row is not None:
            return Served(**dict(row))
        known, newest = log.execute("SELECT count(*), max(at) FROM served").fetchone()
    last = f", the newest of {newest}" if newest else ""
    raise RegistryError(
        f"No prediction has the request id {request_id!r}; {known:,} are on record{last}. The id is the one that came "
        "back with the answer."
    )


@contextmanager
def _log(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS)) as connection, connection:
        connection.row_factory = sqlite3.Row
        yield connection
