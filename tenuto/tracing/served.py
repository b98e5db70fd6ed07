"""What was served: which version answered which request with what, and which labels people gave afterwards.

A SQLite file beside the registry, with one row per clip and version that heard it. It holds no name and, unless
`log.keep_audio_days` in mlflow/serving.yaml is set, no audio: the request's id leads to a version, and the version to
the recordings that trained it. `tenuto serve` writes it in the background (`tenuto.serving.recorder`); audits,
monitoring and the label queue read it. An embedding is kept in half precision, since what is made of it is a summary.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field
from pydantic_core import to_json

from tenuto.errors import RegistryError
from tenuto.records import Record

if TYPE_CHECKING:
    import pandas as pd

LABEL_QUEUE = "label queue: "
"""Feedback whose source begins so is of clips that were chosen because they are hard; the reviewer's name follows."""
BUSY_SECONDS = 10.0
_SCHEMA_VERSION = 3
_SCHEMA = """
CREATE TABLE served (
    request_id TEXT NOT NULL, version TEXT NOT NULL, position INTEGER NOT NULL,
    at TEXT NOT NULL, model TEXT NOT NULL, alias TEXT NOT NULL, artefact TEXT NOT NULL,
    label TEXT NOT NULL, probability REAL NOT NULL, probabilities TEXT NOT NULL,
    is_unknown INTEGER NOT NULL, novelty REAL, embedding BLOB NOT NULL,
    duration_seconds REAL, level_dbfs REAL, latency_ms REAL, is_shadow INTEGER NOT NULL,
    audio TEXT, clip_id TEXT, is_window INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (request_id, version, position)
);
CREATE INDEX served_at ON served (at);
CREATE INDEX served_clip ON served (clip_id) WHERE clip_id IS NOT NULL;
CREATE TABLE feedback (
    request_id TEXT NOT NULL, position INTEGER NOT NULL, label TEXT NOT NULL, at TEXT NOT NULL, source TEXT NOT NULL,
    groups TEXT NOT NULL,
    PRIMARY KEY (request_id, position)
) WITHOUT ROWID;
"""
_EMBEDDING = np.dtype("<f2")
_LARGEST = float(np.finfo(_EMBEDDING).max)
_TOLD = {
    "true_label": "feedback.label",
    "labelled_at": "feedback.at",
    "label_source": "feedback.source",
    "groups": "feedback.groups",
}
_KINDS: dict[str, type] = {
    **dict.fromkeys(("probability", "novelty", "duration_seconds", "level_dbfs", "latency_ms"), float),
    **dict.fromkeys(("is_unknown", "is_shadow", "is_window"), bool),
    "position": int,
}
_READ: dict[str, Callable[[Any], Any]] = {
    "embedding": lambda blob: np.frombuffer(blob, _EMBEDDING).astype(np.float32),
    "groups": lambda text: json.loads(text) if text else {},
}

Clip = tuple[str, int]
"""Request id and position."""


class Served(Record):
    """What one version made of one clip of a request."""

    request_id: str
    position: int = Field(default=0, ge=0, description="of the clip in the request")
    at: datetime = Field(description="of the answer, with its time zone")
    model: str
    version: str
    alias: str = Field(default="", description="'champion', 'challenger', or '' when a folder is served")
    artefact: str = ""
    label: str = Field(description="the answer: a label, several or none as 'dog;rain' and '', or 'unknown'")
    probability: float = Field(ge=0, le=1, description="of the label, or of the likeliest class when it is 'unknown'")
    probabilities: dict[str, float] = Field(default_factory=dict, description="of every class")
    is_unknown: bool = False
    novelty: float | None = Field(default=None, description="above 1 is unknown")
    embedding: tuple[float, ...] = Field(default=(), exclude=True, repr=False, description="what the head took in")
    duration_seconds: float | None = None
    level_dbfs: float | None = Field(default=None, description="root mean square, 0 for a square wave at full scale")
    latency_ms: float | None = None
    is_shadow: bool = Field(default=False, description="heard beside the answer, which came from another version")
    audio: str | None = Field(default=None, description="the kept recording, relative to `audio_folder`")
    clip_id: str | None = Field(default=None, description="of the kept recording")
    is_window: bool = Field(default=False, description="a part of a stream, and no clip that somebody cut and sent")


class Feedback(Record):
    """What a clip of a request was in truth. A later one takes the place of an earlier one."""

    request_id: str
    position: int = Field(default=0, ge=0)
    label: str = Field(description="as a manifest's: several or none as 'dog;rain' and ''; 'unknown' for no class")
    at: datetime = Field(description="with its time zone")
    source: str = Field(default="client", description="who says so: 'client', or the name of a reviewer")
    groups: dict[str, str] = Field(default_factory=dict, description="who or what is heard: {'speaker': 'ann'}")


def audio_folder(path: Path) -> Path:
    """The folder with the recordings that were kept, beside the log at `path`."""
    return path.with_name(f"{path.stem}-audio")


def record(path: Path, served: Served) -> None:
    """Keep a prediction, on disk when this returns; raises ValueError when its request id was used before."""
    if not add(path, [served]):
        raise ValueError(f"a prediction with the request id {served.request_id!r} was recorded before")


def add(path: Path, rows: Iterable[Served]) -> int:
    """Keep predictions, all or none of them, and say how many; one that was recorded before stays as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(Served.model_fields)
    insert = f"INSERT OR IGNORE INTO served ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)})"
    with opened(path) as log:
        return log.executemany(insert, [_columns(row) for row in rows]).rowcount


def audio_on_record(path: Path, rows: Iterable[Served]) -> set[str]:
    """The recordings that are on record for the clips of these predictions."""
    asked = "SELECT audio FROM served WHERE request_id = ? AND version = ? AND position = ?"
    with opened(path) as log:
        found = [log.execute(asked, (row.request_id, row.version, row.position)).fetchone() for row in rows]
    return {row["audio"] for row in found if row is not None}


def look_up(path: Path, request_id: str, position: int = 0) -> Served | None:
    """The prediction that answered a clip of `request_id`, its first by default; never a shadow's."""
    if not path.is_file():
        return None
    asked = "SELECT * FROM served WHERE request_id = ? AND position = ? AND NOT is_shadow ORDER BY at LIMIT 1"
    with opened(path) as log:
        row = log.execute(asked, (request_id, position)).fetchone()
    return None if row is None else _served(row)


def find(path: Path, request_id: str, position: int = 0) -> Served:
    """As `look_up`; raises RegistryError, which says what is on record, when nothing was served under this id.

    What is on record takes seconds to count in a large log.
    """
    if not path.is_file():
        raise RegistryError(
            f"There is no log of served predictions ({path} is not there), so request {request_id!r} cannot be looked "
            "up. `tenuto serve` writes it unless `log.is_on` in mlflow/serving.yaml is false. "
            "`tenuto audit MODEL/VERSION` starts from a version."
        )
    if (found := look_up(path, request_id, position)) is not None:
        return found
    with opened(path) as log:
        (clips,) = log.execute("SELECT max(position) + 1 FROM served WHERE request_id = ?", (request_id,)).fetchone()
        known, newest = log.execute("SELECT count(DISTINCT request_id), max(at) FROM served").fetchone()
    if clips:
        raise RegistryError(f"Request {request_id!r} has no clip {position}; its clips are 0 to {clips - 1}.")
    last = f", the newest of {newest}" if newest else ""
    raise RegistryError(
        f"No prediction has the request id {request_id!r}; {known:,} are on record{last}. The id is the one that came "
        "back with the answer."
    )


def feedback(path: Path, given: Iterable[Feedback]) -> None:
    """Keep what clips were in truth, all or none; raises RegistryError when a request or a clip is not on record."""
    rows = list(given)
    for row in rows:
        find(path, row.request_id, row.position)
    with opened(path) as log:
        log.executemany(
            "INSERT OR REPLACE INTO feedback VALUES (:request_id, :position, :label, :at, :source, :groups)",
            [row.model_dump() | {"at": text(row.at), "groups": json.dumps(row.groups)} for row in rows],
        )


def on_record(path: Path, clips: Iterable[Clip]) -> set[Clip]:
    """Those of the clips that the log holds a prediction of."""
    if not path.is_file():
        return set()
    asked = "SELECT 1 FROM served WHERE request_id = ? AND position = ? LIMIT 1"
    with opened(path) as log:
        return {clip for clip in clips if log.execute(asked, clip).fetchone()}


def count(path: Path, model: str) -> int:
    """How many answers of a model are on record; shadows and windows of streams are not counted."""
    if not path.is_file():
        return 0
    with opened(path) as log:
        asked = "SELECT count(*) FROM served WHERE model = ? AND NOT is_shadow AND NOT is_window"
        return int(log.execute(asked, (model,)).fetchone()[0])


def count_labels(path: Path, model: str, since: datetime | None = None) -> int:
    """How many clips that a model answered got their true label after `since`; one that took the place of another
    counts as new, and one of a window of a stream does not count."""
    if not path.is_file():
        return 0
    asked = """
        SELECT count(*) FROM feedback WHERE (:since IS NULL OR at > :since) AND EXISTS (
            SELECT 1 FROM served WHERE served.request_id = feedback.request_id
            AND served.position = feedback.position AND model = :model AND NOT is_shadow AND NOT is_window)
    """
    with opened(path) as log:
        return int(log.execute(asked, {"since": since and text(since), "model": model}).fetchone()[0])


def frame(
    path: Path,
    since: datetime | None = None,
    until: datetime | None = None,
    version: str | None = None,
    *,
    model: str | None = None,
    is_labelled: bool = False,
    is_kept: bool = False,
    without: Collection[str] = (),
) -> pd.DataFrame:
    """Predictions from `since` on and before `until`, a row each, oldest first; no rows where there is no log.

    Columns are those of `Served` in its order, with `at` in UTC, `embedding` a float32 array (dims,), and facts that
    are not known NaN; then `true_label`, `labelled_at` and `label_source` from feedback (None where there is none),
    `groups` (a dict), and `p_<label>` in place of `probabilities`, NaN where a version does not have the class.
    Shadow answers are among them (`is_shadow`), and windows of streams (`is_window`).

    A log may have grown large: with `is_labelled` there are only clips whose true label came back, with `is_kept` only
    those whose recording is kept, and `without` names columns that are not read.
    """
    import pandas as pd

    names = [name for name in (*Served.model_fields, *_TOLD) if name not in without]
    asked = f"""
        SELECT {", ".join(_TOLD.get(name, f"served.{name}") + f" AS {name}" for name in names)}
        FROM served {"" if is_labelled else "LEFT"} JOIN feedback USING (request_id, position)
        WHERE (:since IS NULL OR served.at >= :since) AND (:until IS NULL OR served.at < :until)
              AND (:version IS NULL OR version = :version) AND (:model IS NULL OR model = :model)
              {"AND audio IS NOT NULL" if is_kept else ""}
        ORDER BY served.at, request_id, position, is_shadow, version
    """
    bounds = {"since": since and text(since), "until": until and text(until), "version": version, "model": model}
    rows: list[sqlite3.Row] = []
    if path.is_file():
        with opened(path) as log:
            rows = log.execute(asked, bounds).fetchall()
    values: dict[str, Any] = {name: [row[name] for row in rows] for name in names}
    classes = _classes(values.pop("probabilities", ()))
    for name, read in _READ.items():
        if name in values:
            values[name] = [read(value) for value in values[name]]
    made = pd.DataFrame({name: pd.Series(column, dtype=object) for name, column in (values | classes).items()})
    times = {
        name: pd.to_datetime(made[name], utc=True, format="ISO8601").dt.as_unit("us")
        for name in ("at", "labelled_at")
        if name in made
    }
    kinds = _KINDS | dict.fromkeys(classes, float)
    return made.assign(**times).astype({name: kind for name, kind in kinds.items() if name in made})


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The log in one transaction: all of it, or nothing when an error is raised. A log of an older release migrates."""
    with closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as connection:
        connection.row_factory = sqlite3.Row
        # what is deleted, a speaker's recordings among it, leaves no readable rest in the file
        connection.execute("PRAGMA secure_delete = ON")
        if connection.execute("PRAGMA user_version").fetchone()[0] < _SCHEMA_VERSION:
            _prepare(connection)
        with connection:
            yield connection


def _prepare(log: sqlite3.Connection) -> None:
    """Make the tables, move the rows of the first release's only table into them, and add what came later."""
    log.execute("PRAGMA journal_mode = WAL")  # readers and the server do not wait for one another
    with log:
        log.execute("BEGIN IMMEDIATE")
        found = log.execute("PRAGMA user_version").fetchone()[0]
        if found == 2:
            log.execute("ALTER TABLE served ADD COLUMN is_window INTEGER NOT NULL DEFAULT 0")
            log.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        if found >= 2:
            return
        is_old = log.execute("SELECT 1 FROM sqlite_master WHERE name = 'served'").fetchone() is not None
        if is_old:
            log.execute("ALTER TABLE served RENAME TO served_1")
        for statement in filter(str.strip, _SCHEMA.split(";")):
            log.execute(statement)
        if is_old:
            for row in log.execute("SELECT * FROM served_1").fetchall():
                columns = _columns(Served(**dict(row)))
                log.execute(f"INSERT INTO served ({', '.join(columns)}) VALUES (:{', :'.join(columns)})", columns)
            log.execute("DROP TABLE served_1")
        log.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")


def _columns(row: Served) -> dict[str, Any]:
    # np.clip and json.dumps take several times as long
    embedding = np.minimum(np.maximum(np.array(row.embedding, np.float64), -_LARGEST), _LARGEST)
    probabilities = to_json(row.probabilities, inf_nan_mode="constants").decode()
    values = {"at": text(row.at), "probabilities": probabilities, "embedding": embedding.astype(_EMBEDDING).tobytes()}
    return row.model_dump() | values


def _served(row: sqlite3.Row) -> Served:
    embedding = tuple(np.frombuffer(row["embedding"], _EMBEDDING).tolist())
    return Served(**dict(row) | {"probabilities": json.loads(row["probabilities"]), "embedding": embedding})


def _classes(texts: Iterable[str]) -> dict[str, list[float | None]]:
    rows = [json.loads(text) for text in texts]
    labels = sorted({label for row in rows for label in row})
    return {f"p_{label}": [row.get(label) for row in rows] for label in labels}


def text(at: datetime) -> str:
    """A time as the log holds it, in UTC."""
    # all of the same length, so that text sorts as time does
    return at.astimezone(UTC).isoformat(timespec="microseconds")
