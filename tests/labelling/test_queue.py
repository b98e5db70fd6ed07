import csv
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from tenuto.errors import DatasetError
from tenuto.labelling import queue


def chosen(recordings: Path, names: tuple[str, ...] = ("a", "b", "c")) -> pd.DataFrame:
    """Rows of the log that were chosen, their recordings in place."""
    (recordings / "2026-03-02").mkdir(parents=True)
    for name in names:
        (recordings / f"2026-03-02/{name}.flac").write_bytes(name.encode())
    return pd.DataFrame(
        {
            "request_id": names,
            "position": 0,
            "version": "3",
            "clip_id": [f"clip-{name}" for name in names],
            "at": pd.Timestamp("2026-03-02 12:00", tz="UTC"),
            "audio": [f"2026-03-02/{name}.flac" for name in names],
            "label": "one",
            "probability": 0.5,
            "duration_seconds": [float("nan"), 0.5, 0.6],
            "novelty": 0.2,
            "reason": "uncertain",
            "groups": [{"speaker": "ann"}, {}, None],
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    queue.create(tmp_path / "queue", chosen(tmp_path / "kept"), tmp_path / "kept", ["speaker"])
    return tmp_path / "queue"


def edit(folder: Path, changes: dict[str, dict[str, str]]) -> None:
    """What somebody with a spreadsheet does; `changes` by request id."""
    with (folder / "queue.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    with (folder / "queue.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows([line | changes.get(line["request_id"], {}) for line in lines])


def test_the_folder_holds_the_recordings_and_what_is_known_of_them(folder: Path) -> None:
    first, second, third = queue.read(folder)
    assert [(folder / item.audio).read_bytes() for item in (first, second, third)] == [b"a", b"b", b"c"]
    assert (first.duration_seconds, second.duration_seconds) == (None, 0.5)
    assert [item.groups for item in (first, second, third)] == [{"speaker": "ann"}, {"speaker": ""}, {"speaker": ""}]
    assert first.at == datetime(2026, 3, 2, 12, tzinfo=UTC) and first.decision == ""


def test_a_decision_is_on_disk_and_leaves_the_others_as_they_are(folder: Path) -> None:
    _, second, third = queue.read(folder)
    kept = queue.decide(folder, ("a", 0), "labelled", "two", "ann", {"speaker": "bo"})
    assert (kept.label, kept.reviewer, kept.groups) == ("two", "ann", {"speaker": "bo"})
    assert queue.read(folder) == (kept, second, third)
    assert [path.name for path in folder.glob(".*.part")] == []


def test_a_recording_that_retention_took_is_no_longer_in_the_queue(folder: Path) -> None:
    (folder.parent / "kept/2026-03-02/b.flac").unlink()
    assert [item.request_id for item in queue.read(folder)] == ["a", "c"]
    with pytest.raises(KeyError):
        queue.decide(folder, ("b", 0), "skipped")


def test_a_label_outlives_its_recording_until_it_is_accepted(folder: Path) -> None:
    queue.decide(folder, ("b", 0), "labelled", "two", "ann")
    (folder.parent / "kept/2026-03-02/b.flac").unlink()
    queue.decide(folder, ("a", 0), "labelled", "one", "ann")
    queue.accept(folder, [("a", 0)])
    assert [(item.request_id, item.label) for item in queue.entries(folder)] == [("a", "one"), ("b", "two"), ("c", "")]
    with pytest.raises(DatasetError, match="1 labels that were not accepted"):
        queue.create(folder, chosen(folder.parent / "more"), folder.parent / "more", [])
    queue.accept(folder, [("b", 0)])
    assert [item.request_id for item in queue.entries(folder)] == ["a", "c"]


def test_a_label_that_was_typed_into_a_spreadsheet_is_a_decision(folder: Path) -> None:
    edit(folder, {"b": {"label": "two", "group_speaker": "ann"}})
    first, second, _ = queue.read(folder)
    assert (first.decision, second.decision, second.label) == ("", "labelled", "two")
    assert second.groups == {"speaker": "ann"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"decision": "maybe"}, r"queue\.csv, line 2: decision is 'maybe'"),
        ({"probability": "much"}, r"queue\.csv, line 2: probability is 'much'"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(folder: Path, change: dict[str, str], words: str) -> None:
    edit(folder, {"a": change})
    with pytest.raises(DatasetError, match=words):
        queue.read(folder)


def test_a_table_without_its_columns_or_none_at_all_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="`tenuto label-queue export` makes one"):
        queue.read(tmp_path)
    (tmp_path / "queue.csv").write_text("path,label\n")
    with pytest.raises(DatasetError, match="lacks the column 'audio'"):
        queue.read(tmp_path)


def test_labels_that_were_not_accepted_are_not_thrown_away(folder: Path) -> None:
    rows = chosen(folder.parent / "more", ("x",) * 1 + ("y", "z"))
    queue.decide(folder, ("a", 0), "labelled", "one")
    with pytest.raises(DatasetError, match="1 labels that were not accepted"):
        queue.create(folder, rows, folder.parent / "more", [])
    queue.accept(folder, [("a", 0)])
    assert [item.decision for item in queue.read(folder)] == ["accepted", "", ""]
    queue.create(folder, rows, folder.parent / "more", [])
    assert [item.request_id for item in queue.read(folder)] == ["x", "y", "z"]


def test_only_labels_of_the_dataset_or_unknown_are_taken(folder: Path) -> None:
    item = queue.read(folder)[0]

    def label(text: str, kind: str = "one") -> str:
        return queue.checked(item.model_copy(update={"label": text}), ("dog", "rain"), kind).label  # type: ignore[arg-type]

    assert label(" dog ") == "dog" and label("unknown") == "unknown"
    assert label("rain;dog", "many") == "dog;rain" and label("", "many") == ""
    with pytest.raises(DatasetError, match=r"audio/0001\.flac: the label 'dgo' is none of dog, rain or unknown"):
        label("dgo")
    with pytest.raises(DatasetError, match="the label 'dgo'"):
        label("dog;dgo", "many")
