"""Files without her: the same table, document or text with her rows and names taken out.

Each function returns the new bytes, or None when the file names nobody who is erased and stays as it is.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tenuto.records import GROUP_PREFIX
from tenuto.tracing.erasure.identities import Identities

_GONE = object()
_TEXT = frozenset({".md", ".txt", ".yaml", ".yml", ".log", ".csv", ".html", ".toml", ".dvc", ".css", ".js"})
_ROWS_ARE_CLIPS = frozenset({"clip_id", "__index_level_0__"})


def scrubbed(name: str, data: bytes, who: Identities) -> bytes | None:
    """The file `name` without her, or None when it does not name her or is of a kind that holds no names."""
    kind = PurePath(name).suffix
    if kind == ".parquet":
        return table(data, who)
    if kind == ".json":
        return document(data, who)
    if kind == ".jsonl":
        return lines(data, who)
    return text(data, who) if kind in _TEXT else None


def text(data: bytes, who: Identities) -> bytes | None:
    """Running text with `(erased)` where she was named."""
    try:
        content = data.decode("utf-8")
    except UnicodeDecodeError:
        content = data.decode("utf-8", "surrogateescape")
    return who.without(content).encode("utf-8", "surrogateescape") if who.are_in(content) else None


def document(data: bytes, who: Identities) -> bytes | None:
    """A JSON document without the entries that are hers; sentences keep `(erased)` in her place."""
    try:
        content = json.loads(data)
    except ValueError:
        return text(data, who)
    fresh = _value(content, who, "")
    fresh = {} if fresh is _GONE else fresh
    return None if fresh == content else (json.dumps(fresh, indent=2, ensure_ascii=False) + "\n").encode()


def lines(data: bytes, who: Identities) -> bytes | None:
    """A file of JSON lines, each without what is hers; a line that is nothing else goes."""
    kept = list(_lines(data, who))
    fresh = b"".join(line for line in kept)
    return None if fresh == data else fresh


def table(data: bytes, who: Identities) -> bytes | None:
    """A Parquet table without her rows; a family that was named after one of her clips has its new name.

    Her rows are those whose `clip_id` (or index, also as `<clip_id>-<draw>`) is erased, or whose group is hers.
    """
    try:
        old = pq.read_table(io.BytesIO(data), partitioning=None)
    except pa.ArrowException:
        return None
    fresh = old.filter(pa.array([not hers for hers in _her_rows(old, who)], pa.bool_()))
    for place, field in enumerate(fresh.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            column = fresh.column(place)
            cells = [_cell(field.name, value, who) for value in column.to_pylist()]
            if cells != column.to_pylist():
                fresh = fresh.set_column(place, field, pa.array(cells, field.type))
    if fresh.num_rows == old.num_rows and fresh.equals(old):
        return None
    buffer = io.BytesIO()
    pq.write_table(fresh, buffer, compression="zstd")
    return buffer.getvalue()


def _lines(data: bytes, who: Identities) -> Iterator[bytes]:
    for line in data.splitlines(keepends=True):
        if not who.are_in(line.decode("utf-8", "replace")):
            yield line
            continue
        try:
            fresh = _value(json.loads(line), who, "")
        except ValueError:
            yield text(line, who) or line
            continue
        if fresh is not _GONE:
            yield json.dumps(fresh, ensure_ascii=False).encode() + b"\n"


def _value(value: Any, who: Identities, group: str) -> Any:
    """The value without what is hers, or _GONE; `group` is the key it stands under."""
    if isinstance(value, dict):
        if any(isinstance(value.get(key), str) and value[key] in who.ids for key in ("clip_id", "clip")):
            return _GONE
        fresh = {key: _value(item, who, key) for key, item in value.items() if not _is_her_key(key, who, group)}
        return {key: item for key, item in fresh.items() if item is not _GONE}
    if isinstance(value, list):
        kept = (_value(item, who, group) for item in value if not _is_her_item(item, who, group))
        return [item for item in kept if item is not _GONE]
    return who.without(value) if isinstance(value, str) else value


def _is_her_key(key: str, who: Identities, group: str) -> bool:
    return who.has(group, key) or who.are_in(key)


def _is_her_item(item: Any, who: Identities, group: str) -> bool:
    """An item that is she; a sentence about her stays, without her name."""
    return isinstance(item, str) and (who.has(group, item) or who.are_all_of(item))


def _her_rows(rows: pa.Table, who: Identities) -> list[bool]:
    hers = [False] * rows.num_rows
    for name in rows.column_names:
        if name in _ROWS_ARE_CLIPS and not pa.types.is_integer(rows.schema.field(name).type):
            ids = (str(value).partition("-")[0] for value in rows.column(name).to_pylist())
            hers = [was or value in who.ids for was, value in zip(hers, ids, strict=True)]
        elif name.startswith(GROUP_PREFIX):
            wanted = [value for group, value in who.groups if GROUP_PREFIX + group == name]
            values = pc.is_in(rows.column(name).cast(pa.string()), pa.array(wanted, pa.string())).to_pylist()
            hers = [was or bool(value) for was, value in zip(hers, values, strict=True)]
    return hers


def _cell(column: str, value: str | None, who: Identities) -> str | None:
    if value is None or column == "label":
        return value
    return who.families[value] if value in who.families else who.without(value)
