"""Clips that were sent to a server: what the log of served predictions holds of her, and its removal."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pandas as pd

from tenuto.records import GROUP_PREFIX
from tenuto.tracing import kept_audio, served
from tenuto.tracing.erasure.identities import Identities
from tenuto.tracing.retention import Removed
from tenuto.tracing.served import Clip

_NOT_NEEDED = ("probabilities", "embedding")


def known(path: Path) -> pd.DataFrame:
    """The clips whose groups feedback named, as rows of a manifest; one that was not kept gets an id of its own."""
    table = served.frame(path, is_labelled=True, without=_NOT_NEEDED)
    table = table[table["groups"].map(bool) & ~table["is_shadow"]]
    groups = pd.DataFrame(list(table["groups"]), index=table.index).add_prefix(GROUP_PREFIX)
    clips = pd.DataFrame({"clip_id": [_id(*row) for row in table[["clip_id", "request_id", "position"]].to_numpy()]})
    clips = clips.set_index(table.index).assign(label=table["true_label"], source=table["request_id"])
    return clips.assign(family=clips["clip_id"], batch=table["at"].astype(str)).join(groups).drop_duplicates("clip_id")


def _id(clip_id: str | None, request_id: str, position: int) -> str:
    return clip_id or hashlib.sha256(f"{position} {request_id}".encode()).hexdigest()[:32]


def of(path: Path, who: Identities) -> list[Clip]:
    """The clips of requests that are hers: by the id of the kept recording, by her groups in feedback, or by a request
    id that names her."""
    if not path.is_file():
        return []
    with served.opened(path) as log:
        clips = log.execute("SELECT DISTINCT request_id, position, clip_id FROM served").fetchall()
        labelled = log.execute("SELECT request_id, position, groups FROM feedback WHERE groups != '{}'").fetchall()
    hers = {(row[0], row[1]) for row in clips if row["clip_id"] in who.ids or who.are_in(row["request_id"])}
    for row in labelled:
        if any(who.has(group, value) for group, value in json.loads(row["groups"]).items()):
            hers.add((row["request_id"], row["position"]))
    return sorted(hers)


def erase(path: Path, clips: Sequence[Clip]) -> Removed:
    """Removes clips of requests with all that was said of them; raises sqlite3.Error while a rest may be readable."""
    if not clips:
        return Removed()
    with served.opened(path) as log:
        kept = [
            row["audio"]
            for clip in clips
            for row in log.execute(
                "SELECT DISTINCT audio FROM served WHERE request_id = ? AND position = ? AND audio IS NOT NULL", clip
            )
        ]
        # first the files: whoever is killed in between finds them by their rows when it is done again
        recordings = kept_audio.remove(served.audio_folder(path), kept)
        predictions, feedback = (
            log.executemany(f"DELETE FROM {table} WHERE request_id = ? AND position = ?", clips).rowcount
            for table in ("served", "feedback")
        )
    _empty_write_ahead_log(path)
    return Removed(predictions=predictions, feedback=feedback, recordings=recordings)


def _empty_write_ahead_log(path: Path) -> None:
    """Pages as they were before the deletion stay in SQLite's write-ahead log until it is emptied."""
    with closing(sqlite3.connect(path, timeout=served.BUSY_SECONDS)) as log:
        (is_busy, *_) = log.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if is_busy:
        raise sqlite3.OperationalError("a server is reading it, so its log could not be emptied")
