"""The table of clips of one dataset version, and the table of recordings that were left out.

Both are Parquet files inside `data/`, with a fixed schema, rows in a fixed order and no time stamps: the same
recordings give the same bytes, and so the same dataset hash.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tenuto.errors import DatasetError
from tenuto.labels import LabelType, parts
from tenuto.records import GROUP_PREFIX, Quarantined

FILE_NAME = "manifest.parquet"
QUARANTINE_FILE_NAME = "quarantine.parquet"

_FIELDS = (
    pa.field("clip_id", pa.string(), nullable=False),
    pa.field("path", pa.string(), nullable=False),
    pa.field("source", pa.string(), nullable=False),
    pa.field("label", pa.string(), nullable=False),
    pa.field("batch", pa.int64(), nullable=False),
    pa.field("duration_seconds", pa.float64(), nullable=False),
    pa.field("sample_rate_hz", pa.int64(), nullable=False),
    pa.field("channels", pa.int64(), nullable=False),
    pa.field("codec", pa.string(), nullable=False),
    pa.field("peak_dbfs", pa.float64(), nullable=False),
    pa.field("level_dbfs", pa.float64(), nullable=False),
    pa.field("snr_db", pa.float64(), nullable=False),
    pa.field("clipped_fraction", pa.float64(), nullable=False),
    pa.field("dc_offset", pa.float64(), nullable=False),
    pa.field("bandwidth_hz", pa.float64(), nullable=False),
    pa.field("has_dead_channel", pa.bool_(), nullable=False),
    pa.field("is_truncated", pa.bool_(), nullable=False),
    pa.field("is_fake_bandwidth", pa.bool_(), nullable=False),
    pa.field("fingerprint", pa.binary(), nullable=False),
    pa.field("family", pa.string(), nullable=False),
)
COLUMNS = tuple(field.name for field in _FIELDS)
"""The columns of every manifest, in order; group columns follow `label`."""

_QUARANTINE_SCHEMA = pa.schema([(name, pa.string()) for name in ("path", "reason", "detail", "label")])


def read(path: Path) -> pd.DataFrame:
    """The manifest at `path`, one row per clip, sorted by clip_id.

    Raises DatasetError when it is missing, damaged, or has other columns or types than a manifest.
    """
    table = _read_table(path, "`tenuto data add SOURCE` makes one, `dvc pull` fetches one.")
    _check_schema(table.schema, path)
    frame = table.to_pandas()
    if frame["clip_id"].duplicated().any():
        raise DatasetError(f"{path} lists a clip twice: {frame['clip_id'][frame['clip_id'].duplicated()].iloc[0]}.")
    return frame


def write(frame: pd.DataFrame, path: Path) -> None:
    """Write the manifest, whole or not at all; the same rows in any order give the same bytes."""
    _staged(_manifest_table(frame), path).replace(path)


def replace(frame: pd.DataFrame, quarantine: Sequence[Quarantined], folder: Path) -> None:
    """Replace both tables of the dataset in `folder`; nothing changes until both are written out."""
    manifest_path, quarantine_path = folder / FILE_NAME, folder / QUARANTINE_FILE_NAME
    staged_quarantine = _staged(_quarantine_table(quarantine), quarantine_path)
    staged_manifest = _staged(_manifest_table(frame), manifest_path)
    staged_quarantine.replace(quarantine_path)
    staged_manifest.replace(manifest_path)


def empty() -> pd.DataFrame:
    """A manifest without clips."""
    return _schema([]).empty_table().to_pandas()


def group_names(frame: pd.DataFrame) -> list[str]:
    """The groups that the clips carry, in name order: `['accent', 'speaker']`."""
    return sorted(name.removeprefix(GROUP_PREFIX) for name in frame.columns if name.startswith(GROUP_PREFIX))


def read_quarantine(path: Path) -> tuple[Quarantined, ...]:
    """The recordings that were left out, by path; none when the table is not there.

    Raises DatasetError when the table is damaged.
    """
    if not path.exists():
        return ()
    rows = _read_table(path, "").to_pylist()
    return tuple(Quarantined(**row) for row in rows)


def _schema(groups: Sequence[str]) -> pa.Schema:
    after_label = COLUMNS.index("label") + 1
    group_fields = [pa.field(GROUP_PREFIX + name, pa.string()) for name in groups]
    return pa.schema([*_FIELDS[:after_label], *group_fields, *_FIELDS[after_label:]])


def by_label(clips: pd.DataFrame, kind: LabelType) -> pd.DataFrame:
    """A clips table with a row for each label of a clip; clips without any are left out."""
    if kind == "one":
        return clips
    each = clips.assign(label=pd.Series(map(parts, clips["label"]), index=clips.index, dtype=object))
    return each.explode("label").dropna(subset=["label"])


def _read_table(path: Path, remedy: str) -> pa.Table:
    try:
        return pq.read_table(path, partitioning=None)
    except FileNotFoundError as error:
        raise DatasetError(f"There is no {path}. {remedy}".strip()) from error
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"{path} is damaged ({error}); get it back with `dvc checkout` or `dvc pull`.") from error


def _check_schema(schema: pa.Schema, path: Path) -> None:
    wanted = _schema(sorted(n.removeprefix(GROUP_PREFIX) for n in schema.names if n.startswith(GROUP_PREFIX)))
    missing = [name for name in wanted.names if name not in schema.names]
    unknown = [name for name in schema.names if name not in wanted.names]
    wrong = [
        name for name in wanted.names if name in schema.names and schema.field(name).type != wanted.field(name).type
    ]
    problems = [
        f"{what} {', '.join(names)}"
        for what, names in (("lacks", missing), ("has unknown", unknown), ("has the wrong type for", wrong))
        if names
    ]
    if problems:
        raise DatasetError(f"{path} is no manifest of this version of Tenuto: it {'; it '.join(problems)}.")


def _manifest_table(frame: pd.DataFrame) -> pa.Table:
    schema = _schema(group_names(frame))
    ordered = frame.sort_values("clip_id")[schema.names]
    return pa.Table.from_pandas(ordered, schema=schema, preserve_index=False)


def _quarantine_table(rows: Sequence[Quarantined]) -> pa.Table:
    ordered = sorted((row.model_dump() for row in rows), key=lambda row: (row["path"], row["reason"], row["detail"]))
    return pa.Table.from_pylist(ordered, schema=_QUARANTINE_SCHEMA)


def _staged(table: pa.Table, path: Path) -> Path:
    """A file beside `path`, on disk, to be renamed to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    pq.write_table(table.replace_schema_metadata(None), staged, compression="zstd")
    with staged.open("rb+") as file:
        os.fsync(file.fileno())
    return staged
