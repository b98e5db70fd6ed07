"""Recordings with several labels on their way into the dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tenuto.dataset import ingest, manifest
from tenuto.dataset.ingest import IngestResult
from tenuto.settings import DataSettings
from tests.recordings import speechlike, write

Table = Callable[[dict[str, str]], Path]


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Writes a source of a clip per label, by the name of the file; the table of them."""

    def written(names: dict[str, str]) -> Path:
        for number, name in enumerate(names):
            write(tmp_path / "source" / name, speechlike(number, 0.1))
        lines = [f"{name},{label}" for name, label in names.items()]
        (tmp_path / "source/clips.csv").write_text("\n".join(["path,label", *lines]) + "\n")
        return tmp_path / "source/clips.csv"

    return written


def add(tmp_path: Path, source: Path, kind: str = "many") -> IngestResult:
    settings = DataSettings.model_validate({"labels": kind})
    return ingest.add(source, tmp_path / "data", tmp_path / "cache", settings)


def labels(tmp_path: Path) -> dict[str, str]:
    clips = manifest.read(tmp_path / "data/manifest.parquet")
    return dict(zip(clips["source"], clips["label"], strict=True))


def reasons(result: IngestResult) -> dict[str, str]:
    return {row.path: row.reason for row in result.quarantined}


def test_several_labels_are_kept_sorted_and_none_is_allowed(tmp_path: Path, table: Table) -> None:
    result = add(tmp_path, table({"a.wav": "rain; dog", "b.wav": "dog", "c.wav": "", "d.wav": "dog;rain;dog"}))
    assert (result.added, result.quarantined) == (4, ())
    assert labels(tmp_path) == {"a.wav": "dog;rain", "b.wav": "dog", "c.wav": "", "d.wav": "dog;rain"}


def test_a_parquet_column_of_lists_is_several_labels(tmp_path: Path, table: Table) -> None:
    table({"a.wav": "", "b.wav": "", "c.wav": ""})
    path = tmp_path / "source/clips.parquet"
    pq.write_table(
        pa.table({"path": ["a.wav", "b.wav", "c.wav"], "label": [["rain", "dog"], ["dog", "rain"], []]}), path
    )
    assert add(tmp_path, path).quarantined == ()
    assert labels(tmp_path) == {"a.wav": "dog;rain", "b.wav": "dog;rain", "c.wav": ""}


def test_with_one_label_a_clip_a_semicolon_is_part_of_it_and_a_hint_is_given(tmp_path: Path, table: Table) -> None:
    source = table({"a.wav": "rain;dog", "b.wav": "rain;dog", "c.wav": "cat", "d.wav": "", "e.wav": "rain;dog"})
    result = add(tmp_path, source, "one")
    assert set(labels(tmp_path).values()) == {"rain;dog"}
    assert reasons(result) == {"c.wav": "lone-label", "d.wav": "no-label", "clips.csv": "several-labels"}
    (hint,) = (row.detail for row in result.quarantined if row.reason == "several-labels")
    assert "set `data.labels: many`" in hint


def test_the_same_labels_in_another_order_are_no_other_labels(tmp_path: Path, table: Table) -> None:
    names = {"a.wav": "rain;dog", "b.wav": "rain;dog", "c.wav": "dog", "d.wav": "rain"}
    add(tmp_path, table(names | {"e.wav": "rain", "f.wav": "dog"}), "one")
    again = add(tmp_path, tmp_path / "source/clips.csv")
    assert (again.added, again.unchanged, again.quarantined) == (0, 6, ())


def test_a_folder_per_class_in_which_a_recording_lies_twice_gives_it_both_labels(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for number in range(4):
        write(source / ("dog", "rain")[number % 2] / f"{number}.wav", speechlike(number, 0.1))
        write(source / ("dog", "rain")[number % 2] / "both.wav", speechlike(9, 0.1))
    result = add(tmp_path, source)
    assert (result.added, result.unchanged, result.quarantined) == (5, 1, ())
    assert sorted(labels(tmp_path).values()) == ["dog", "dog", "dog;rain", "rain", "rain"]
    again = add(tmp_path, source)
    assert (again.added, again.unchanged, again.quarantined) == (0, 6, ())


def test_a_clip_of_the_dataset_keeps_its_labels_when_a_source_says_otherwise(tmp_path: Path, table: Table) -> None:
    add(tmp_path, table({"a.wav": "dog", "b.wav": "dog;rain", "c.wav": "rain"}))
    result = add(tmp_path, table({"a.wav": "dog;rain", "b.wav": "rain;dog", "c.wav": "rain"}))
    assert reasons(result) == {"a.wav": "two-labels"}
    assert labels(tmp_path)["a.wav"] == "dog"


def test_what_was_added_before_a_clip_could_have_several_labels_is_known_in_any_order(
    tmp_path: Path, table: Table
) -> None:
    source = table({"a.wav": "rain;dog", "b.wav": "rain;dog"})
    add(tmp_path, source, "one")
    result = add(tmp_path, source)
    assert (result.added, result.unchanged, result.quarantined) == (0, 2, ())


def test_a_clip_whose_label_nobody_shares_is_left_out_and_so_is_what_it_leaves_alone(
    tmp_path: Path, table: Table
) -> None:
    result = add(tmp_path, table({"a.wav": "dog", "b.wav": "dog", "c.wav": "cat;unicorn", "d.wav": "cat;dog"}))
    assert reasons(result) == {"c.wav": "lone-label", "d.wav": "lone-label"}
    assert labels(tmp_path) == {"a.wav": "dog", "b.wav": "dog"}
