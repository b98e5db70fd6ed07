from __future__ import annotations

import pandas as pd
import pytest

from tenuto.dataset import tables
from tenuto.errors import SourceError

PLAIN = "path,label,speaker\na.wav,yes,ann\nb.wav,no,ben\n"
ROWS = [
    (2, {"path": "a.wav", "label": "yes", "speaker": "ann"}),
    (3, {"path": "b.wav", "label": "no", "speaker": "ben"}),
]


@pytest.mark.parametrize(
    "data",
    [
        PLAIN.encode(),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        PLAIN.replace(",", ";").encode(),
        PLAIN.replace(",", "\t").encode(),
        PLAIN.replace(",", "|").encode(),
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace("path,label,speaker", " Path , LABEL,Speaker").encode(),
        PLAIN.replace("a.wav", '"a.wav"').encode(),
    ],
    ids=["plain", "bom", "utf-16", "semicolon", "tab", "bar", "crlf", "letter case", "quoted"],
)
def test_every_kind_of_csv_gives_the_same_rows(tmp_path, data):
    (tmp_path / "labels.csv").write_bytes(data)
    table = tables.read(tmp_path / "labels.csv")
    assert table.rows == ROWS
    assert (table.groups, table.ignored, table.broken) == (["speaker"], {}, [])


def test_parquet_gives_text_and_whole_numbers(tmp_path):
    frame = pd.DataFrame({"path": ["a.wav", "b.wav"], "label": [7.0, 8.0], "speaker": [1.0, None], "fold": [1, 1]})
    frame.to_parquet(tmp_path / "labels.parquet")
    table = tables.read(tmp_path / "labels.parquet")
    assert [row for _, row in table.rows] == [
        {"path": "a.wav", "label": "7", "speaker": "1", "fold": "1"},
        {"path": "b.wav", "label": "8", "speaker": "", "fold": "1"},
    ]
    assert table.groups == ["speaker", "fold"]


def test_lines_that_do_not_fit_the_header_are_told_apart(tmp_path):
    (tmp_path / "labels.csv").write_text("path,label\na.wav,yes\nb.wav\n\nc.wav,no,more\n")
    table = tables.read(tmp_path / "labels.csv")
    assert [number for number, _ in table.rows] == [2]
    assert table.broken == [(3, "1 values under 2 columns"), (5, "3 values under 2 columns")]


@pytest.mark.parametrize(
    ("column", "values", "problem"),
    [
        ("snr", ["0.5", "1.25", "2.0"], "measures"),
        ("note", [f"take {n}" for n in range(12)], "every value is different"),
        ("empty", ["", "", ""], "empty"),
        ("split", ["train", "train", "test"], "fills itself"),
        ("duration_seconds", ["1", "1", "2"], "fills itself"),
        ("", ["x", "x", "y"], "not a group name"),
        ("größe", ["x", "x", "y"], "not a group name"),
    ],
)
def test_unknown_columns_are_ignored_with_the_reason(tmp_path, column, values, problem):
    lines = "\n".join(f"{n}.wav,yes,{value}" for n, value in enumerate(values))
    (tmp_path / "labels.csv").write_text(f"path,label,{column}\n{lines}\n")
    table = tables.read(tmp_path / "labels.csv")
    assert table.groups == []
    assert problem in table.ignored[column]


@pytest.mark.parametrize("column", ["speaker", "Recording Site", "fold", "year"])
def test_group_columns(tmp_path, column):
    lines = "\n".join(f"{n}.wav,yes,{n if column == 'speaker' else n % 3}" for n in range(12))
    (tmp_path / "labels.csv").write_text(f"path,label,{column}\n{lines}\n")
    assert tables.read(tmp_path / "labels.csv").groups == [column.lower().replace(" ", "_")]


def test_a_column_named_twice_or_holding_bytes_is_ignored(tmp_path):
    (tmp_path / "labels.csv").write_text("path,label,site,site\na.wav,yes,x,y\n")
    assert "twice" in tables.read(tmp_path / "labels.csv").ignored["site"]
    frame = pd.DataFrame({"path": ["a"], "label": ["yes"], "audio": [{"bytes": b"RIFF"}], "hash": [b"1"]})
    frame.to_parquet(tmp_path / "labels.parquet")
    assert set(tables.read(tmp_path / "labels.parquet").ignored) == {"audio", "hash"}


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "labels.csv",
            b"a.wav,yes\nb.wav,no\n",
            r"no column 'path', its first line gives 'a.wav', 'yes'; wanted a header",
        ),
        ("labels.csv", b"path,class\na.wav,yes\n", "no column 'label'"),
        ("labels.csv", b"path,label,Path\na.wav,yes,x\n", "'path' twice"),
        ("labels.csv", b"", "is empty"),
        ("labels.csv", b"path,label\n\xff\xfe.wav,yes\n", "no UTF-8 text"),
        ("labels.parquet", b"PAR1 but not really", "no Parquet table"),
        ("labels.xlsx", b"PK", "no table; wanted a folder"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SourceError, match=message):
        tables.read(tmp_path / name)
