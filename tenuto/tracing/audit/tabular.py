"""A list of clips as a CSV or Parquet file."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Writes the rows, whole or not at all: Parquet for the suffix .parquet, else CSV with a header line.

    Columns are those of all rows together, in the order in which they come; what a row lacks is empty.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    staged = path.with_name(f".{path.name}.{os.getpid()}.part")
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        whole = [{name: row.get(name) for name in columns} for row in rows]
        pq.write_table(pa.Table.from_pylist(whole), staged, compression="zstd")
    else:
        with staged.open("w", encoding="utf-8", newline="") as file:
            sheet = csv.DictWriter(file, columns)
            sheet.writeheader()
            sheet.writerows({name: _harmless(value) for name, value in row.items()} for row in rows)
    staged.replace(path)


def _harmless(value: Any) -> Any:
    """Text that a spreadsheet would run as a formula gets an apostrophe before it: file names come from anybody."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
