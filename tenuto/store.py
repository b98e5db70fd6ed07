"""A store of what was computed per clip, so that a run works only on clips that it has not seen.

Rows lie in Parquet shards named by the sha256 of their bytes: a damaged shard shows by its name, is removed, and its
rows are computed again. Adding writes one new shard and renames it into place, so a kill leaves whole shards only.
"""

from __future__ import annotations

import hashlib
import io
import logging
import uuid
from pathlib import Path

import pandas as pd

logger = logging.getLogger(__name__)

_MAX_SHARDS = 64


class ClipStore:
    """Rows of one `kind` (facts, embeddings ...) made in one way, which `key` names; both are folder names.

    The index of the tables is the clip identity; columns may hold numbers, text, bytes or lists of numbers.
    """

    def __init__(self, folder: Path, kind: str, key: str) -> None:
        self.folder = folder / kind / key

    def load(self) -> pd.DataFrame:
        """All rows, each index value once (the first written wins); an empty frame when there are none."""
        tables = [table for path in self._shards() if (table := _read_shard(path)) is not None]
        if not tables:
            return pd.DataFrame()
        if len(tables) == 1:
            return tables[0]
        whole = pd.concat(tables)
        return whole[~whole.index.duplicated()]

    def add(self, table: pd.DataFrame) -> None:
        """Keep the rows of `table`, whole or not at all."""
        if table.empty:
            return
        if len(self._shards()) >= _MAX_SHARDS:
            self._merge(table)
        else:
            self._write(table)

    def _shards(self) -> list[Path]:
        return sorted(self.folder.glob("*.parquet"))

    def _merge(self, table: pd.DataFrame) -> None:
        # many small shards make loading slow; the old ones go only when the new one is in place
        old = self._shards()
        whole = pd.concat([self.load(), table])
        merged = self._write(whole[~whole.index.duplicated()])
        for path in old:
            if path != merged:
                path.unlink(missing_ok=True)

    def _write(self, table: pd.DataFrame) -> Path:
        buffer = io.BytesIO()
        table.to_parquet(buffer, compression="zstd")
        data = buffer.getvalue()
        path = self.folder / f"{hashlib.sha256(data).hexdigest()}.parquet"
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{uuid.uuid4().hex}.part"
        temporary.write_bytes(data)
        temporary.replace(path)
        return path


def _read_shard(path: Path) -> pd.DataFrame | None:
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != path.stem:
        logger.warning("%s is damaged and was removed; its rows will be computed again.", path)
        path.unlink(missing_ok=True)
        return None
    return pd.read_parquet(io.BytesIO(data))
