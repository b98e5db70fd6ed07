"""Reads a table of labelled recordings, CSV or Parquet, as rows of text, and tells its group columns from others."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tenuto import labels
from tenuto.dataset import manifest
from tenuto.dataset.patterns import GROUP_NAME
from tenuto.errors import SourceError

SUFFIXES = frozenset(("csv", "tsv", "parquet"))

# fmt: off
KNOWN_GROUPS = frozenset((
    "accent", "age", "channel", "condition", "country", "device", "dialect", "gender", "language", "location",
    "machine", "microphone", "recording", "region", "room", "session", "sex", "site", "speaker", "station",
))
"""Columns that are groups even when no value occurs twice."""
# fmt: on

RESERVED_COLUMNS = frozenset((*manifest.COLUMNS, "split", "aside_reason"))
"""Columns that cannot be groups, because the dataset has its own of that name."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|nan|inf", re.IGNORECASE)
_WHOLE_NUMBER = re.compile(r"[+-]?\d+(\.0*)?")
_MIN_ROWS_TO_JUDGE = 10
_DELIMITERS = ",;\t|"
_WANTED = "wanted a header line with the columns path and label, and a column per group (speaker, site ...)"


@dataclass
class Table:
    """Rows of text with their line numbers.

    `groups` are the columns that divide the clips, `ignored` the others with the reason, `broken` the lines that do
    not fit the header with what is wrong.
    """

    columns: list[str]
    rows: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    broken: list[tuple[int, str]] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    ignored: dict[str, str] = field(default_factory=dict)


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
    for column in dict.fromkeys(table.columns):
        if column not in ("path", "label"):
            _judge(table, column)
    return table


def _judge(table: Table, column: str) -> None:
    values = [value for _, row in table.rows if (value := row[column].strip())]
    problem = table.ignored.get(column) or _column_problem(column, values)
    if table.columns.count(column) > 1:
        problem = "the header names it twice"
    if problem is None:
        table.groups.append(column)
    else:
        table.ignored[column] = problem


def _column_problem(column: str, values: list[str]) -> str | None:
    """Why a column with these values divides no clips into groups; None when it does."""
    if not GROUP_NAME.fullmatch(column):
        return "not a group name; wanted a-z, 0-9 and _"
    if column in RESERVED_COLUMNS:
        return "the dataset has a column of that name, which it fills itself"
    if not values:
        return "it is empty"
    if all(map(_NUMBER.fullmatch, values)) and not all(map(_WHOLE_NUMBER.fullmatch, values)):
        return "it measures, where a group names"
    if column not in KNOWN_GROUPS and len(values) >= _MIN_ROWS_TO_JUDGE and len(set(values)) == len(values):
        return "every value is different, so it groups nothing"
    return None


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
    try:
        content = pq.read_table(io.BytesIO(_bytes(path)))
    except pa.ArrowException as error:
        raise SourceError(f"{path} is no Parquet table: {error}.") from error
    table = Table(_column_names(content.column_names))
    for name, column in zip(table.columns, content.columns, strict=True):
        if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
            table.ignored[name] = f"it holds {column.type}, where a group is text"
    columns = [column.to_pylist() for column in content.columns]
    if "label" in table.ignored and pa.types.is_list(content.columns[table.columns.index("label")].type):
        place = table.columns.index("label")
        columns[place] = [labels.joined(map(_cell, names or [])) for names in columns[place]]
        del table.ignored["label"]
    for number, values in enumerate(zip(*columns, strict=True), start=1):
        table.rows.append((number, dict(zip(table.columns, map(_cell, values), strict=True))))
    return table


def _cell(value: Any) -> str:
    """A value as text; whole numbers come as floats when some of their column are missing."""
    if value is None or value != value:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _column_names(names: list[str]) -> list[str]:
    return ["_".join(name.lower().split()) for name in names]
