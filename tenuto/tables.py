"""Reads a table of labelled recordings, CSV or Parquet, as rows of text; what the columns mean is not known here."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path

from tenuto.errors import SourceError

SUFFIXES = frozenset(("csv", "tsv", "parquet"))

_DELIMITERS = ",;\t|"
_WANTED = "wanted a header line with the columns path and label, and a column per group (speaker, site ...)"


@dataclass
class Table:
    """Rows of text with their line numbers; `broken` are lines that do not fit the header, with what is wrong."""

    columns: list[str]
    rows: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    broken: list[tuple[int, str]] = field(default_factory=list)


def read(path: Path) -> Table:
    """The table in a CSV (comma, semicolon, tab or bar; UTF-8 with or without BOM, UTF-16) or Parquet file.

    Column names come in lower case, with _ for blanks. Raises SourceError when the file cannot be read as a table or
    has no path or no label column.
    """
    suffix = path.suffix[1:].lower()
    if suffix not in SUFFIXES:
        raise SourceError(f"{path} is no table; wanted a folder, or a file ending in .csv, .tsv or .parquet.")
    table = _read_parquet(path) if suffix == "parquet" else _read_csv(path)
    for wanted in ("path", "label"):
        if wanted not in table.columns:
            columns = ", ".join(map(repr, table.columns))
            raise SourceError(f"{path} has no column {wanted!r}, its first line gives {columns}; {_WANTED}.")
        if table.columns.count(wanted) > 1:
            raise SourceError(f"{path} has the column {wanted!r} twice.")
    return table


def _read_csv(path: Path) -> Table:
    text = _text(path)
    first_line = text.lstrip("\n").partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        lines = [(reader.line_num, line) for line in reader if any(cell.strip() for cell in line)]
    except csv.Error as error:
        raise SourceError(f"{path}, line {reader.line_num}: {error}.") from error
    if not lines:
        raise SourceError(f"{path} is empty; {_WANTED}.")
    table = Table(_column_names(lines[0][1]))
    for number, line in lines[1:]:
        if len(line) == len(table.columns):
            table.rows.append((number, dict(zip(table.columns, line, strict=True))))
        else:
            table.broken.append((number, f"{len(line)} values under {len(table.columns)} columns"))
    return table


def _text(path: Path) -> str:
    data = _bytes(path)
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is no UTF-8 text (byte {error.start}); save it as CSV in UTF-8.") from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from error


def _read_parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        content = pq.read_table(io.BytesIO(_bytes(path)))
    except pa.ArrowException as error:
        raise SourceError(f"{path} is no Parquet table: {error}.") from error
    table = Table(_column_names(content.column_names))
    columns = [column.to_pylist() for column in content.columns]
    for number, values in enumerate(zip(*columns, strict=True), start=1):
        cells = ["" if value is None else str(value) for value in values]
        table.rows.append((number, dict(zip(table.columns, cells, strict=True))))
    return table


def _column_names(names: list[str]) -> list[str]:
    return ["_".join(name.lower().split()) for name in names]
