from __future__ import annotations

from pathlib import Path

import pandas as pd

from tenuto.reporting import tables


def clips(rows: list[tuple[str, str, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["label", "split", "aside_reason"])


def test_clips_per_label_and_split_with_the_rarest_training_label_first() -> None:
    rows = [("a", "train", "")] * 5 + [("b", "train", "")] * 2 + [("b", "test", "")] * 3 + [("a", "aside", "twin")]
    splits = tables.splits(clips(rows))
    assert splits is not None
    assert splits.names == ["train", "test", "aside"]
    assert splits.rows == [("b", [2, 3, 0], 5), ("a", [5, 0, 1], 6)]
    assert splits.totals == [7, 3, 1]
    assert splits.aside == [("twin", 1)]


def test_many_reasons_for_setting_aside_are_summed() -> None:
    splits = tables.splits(clips([("a", "aside", f"near-duplicate of {n}") for n in range(12)]))
    assert splits is not None
    assert len(splits.aside) == tables.MOST_ASIDE + 1
    assert splits.aside[-1] == ("for reasons such as these", 7)


def test_without_a_table_there_is_nothing_to_show(tmp_path: Path) -> None:
    assert tables.read(None) is None
    assert tables.read(tmp_path / "absent.parquet") is None
    assert tables.splits(None) is None
    assert tables.splits(pd.DataFrame({"label": ["a"]})) is None
    assert tables.quarantine(tmp_path / "absent.parquet") is None


def write(path: Path, rows: list[tuple[str, str, str, str | None]]) -> Path:
    pd.DataFrame(rows, columns=["path", "reason", "detail", "label"]).to_parquet(path, index=False)
    return path


def test_quarantine_counts_reasons_and_says_nothing_for_a_missing_label(tmp_path: Path) -> None:
    rows = [("b.wav", "silent", "-90 dBFS", None), ("a.wav", "silent", "-80 dBFS", "x"), ("c", "empty-file", "", None)]
    shown = tables.quarantine(write(tmp_path / "q.parquet", rows))
    assert shown is not None
    assert shown.total == 3
    assert shown.reasons == [("silent", 2), ("empty-file", 1)]
    assert [(row["path"], row["label"]) for row in shown.rows] == [("c", ""), ("a.wav", "x"), ("b.wav", "")]


def test_quarantine_says_what_was_used_even_so(tmp_path: Path) -> None:
    rows = [("a.wav", "silent", "", "x"), ("b.wav", "two-labels", "", "y"), ("clips.csv", "several-labels", "", "")]
    shown = tables.quarantine(write(tmp_path / "q.parquet", rows))
    assert shown is not None
    assert len(shown.notes) == 2
    assert any("it stays there with the label that it had" in note for note in shown.notes)
    assert any("the clips are used" in note for note in shown.notes)
    silent = tables.quarantine(write(tmp_path / "silent.parquet", rows[:1]))
    assert silent is not None and silent.notes == []


def test_quarantine_shows_the_first_rows_and_counts_them_all(tmp_path: Path) -> None:
    rows = [(f"{n}.wav", "silent", "", None) for n in range(tables.MOST_QUARANTINED + 50)]
    shown = tables.quarantine(write(tmp_path / "q.parquet", rows))
    assert shown is not None
    assert (shown.total, len(shown.rows)) == (150, 100)


def test_an_empty_quarantine_is_no_section(tmp_path: Path) -> None:
    assert tables.quarantine(write(tmp_path / "q.parquet", [])) is None


def test_golden_clips_are_a_split_of_their_own() -> None:
    found = tables.splits(pd.DataFrame({"label": ["a", "a", "a"], "split": ["golden", "test", "train"]}))
    assert found is not None
    assert (found.names, found.totals) == (["train", "test", "golden"], [1, 1, 1])
