"""Lists of clips as files."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow.parquet as pq

from tenuto.tracing.audit import tabular

ROWS = [{"clip_id": "1", "weight": 1, "group_speaker": "ann"}, {"clip_id": "2", "weight": 0}]


def test_csv_and_parquet_hold_the_rows(tmp_path: Path) -> None:
    for name in ("clips.csv", "clips.parquet"):
        tabular.write(ROWS, tmp_path / name)
    with (tmp_path / "clips.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"clip_id": "1", "weight": "1", "group_speaker": "ann"},
            {"clip_id": "2", "weight": "0", "group_speaker": ""},
        ]
    assert pq.read_table(tmp_path / "clips.parquet").to_pylist() == [ROWS[0], ROWS[1] | {"group_speaker": None}]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_name_is_no_formula(tmp_path: Path) -> None:
    tabular.write([{"source": "=HYPERLINK(1)"}], tmp_path / "c.csv")
    assert (tmp_path / "c.csv").read_text().splitlines() == ["source", "'=HYPERLINK(1)"]
