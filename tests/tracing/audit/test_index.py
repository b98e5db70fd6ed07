"""What the index gives back of runs and clips, how small it stays, and that forgotten clips leave its bytes."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from tenuto.tracing.audit.index import Index
from tenuto.tracing.audit.listings import ClipUse
from tests.tracing.audit.sample import WEEKS, clip, fill, identity, run, version


@pytest.fixture
def path(tmp_path: Path) -> Path:
    place = tmp_path / "audit.sqlite"
    with Index.open(place) as index:
        fill(index)
    return place


def test_every_run_gives_back_its_own_clips(path: Path) -> None:
    with Index.open(path) as index:
        for number, clips in enumerate(WEEKS, start=1):
            assert sorted(index.clips_of(f"run-{number}")) == sorted(clips)
            assert index.listed(f"run-{number}") == len(clips)


def test_a_clip_that_goes_and_comes_back_was_not_there_in_between(tmp_path: Path) -> None:
    tables = [[clip("a", "ann"), clip("b", "ben")], [clip("b", "ben")], [clip("a", "ann"), clip("b", "ben")]]
    tables.append([*tables[1], clip("c", "cat")])
    with Index.open(tmp_path / "i.sqlite") as index:
        for number, clips in enumerate(tables):
            index.add(run(number), clips)
        assert [sorted(index.clips_of(f"run-{n}")) for n in range(4)] == [sorted(clips) for clips in tables]
        assert [row.run_id for row in index.heard(index.by_group("speaker", "ann"))] == ["run-0", "run-2"]


def test_runs_over_the_same_clips_add_no_row(tmp_path: Path) -> None:
    path = tmp_path / "i.sqlite"
    clips = [clip(f"{n:04}", f"speaker-{n % 7}") for n in range(500)]
    with Index.open(path) as index:
        for number in range(20):
            index.add(run(number), [*clips, clip(f"new {number // 10}", "zoe")])
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT count(*) FROM span").fetchone() == (502,)
        assert database.execute("SELECT count(*) FROM listing").fetchone() == (2,)


def test_a_run_without_a_clips_table_is_a_run(path: Path) -> None:
    with Index.open(path) as index:
        index.add(run(4, is_trained=False), None)
        assert index.listed("run-4") is None and index.clips_of("run-4") == []
        assert "run-4" in index.run_ids()
        index.add(run(5), WEEKS[2])
        assert sorted(index.clips_of("run-5")) == sorted(WEEKS[2])


def test_an_empty_table_ends_what_was_used_before(path: Path) -> None:
    with Index.open(path) as index:
        index.add(run(4), [])
        assert index.clips_of("run-4") == [] and index.listed("run-4") == 0


def test_a_run_is_added_once(path: Path) -> None:
    with Index.open(path) as index:
        index.add(run(1, verdict="reject"), [])
        found = index.run("run-1")
        assert found is not None and found.verdict == "promote"
        assert len(index.clips_of("run-1")) == 3


def test_a_changed_label_or_group_is_kept_as_each_run_had_it(tmp_path: Path) -> None:
    with Index.open(tmp_path / "i.sqlite") as index:
        index.add(run(1), [clip("a", "ann", label="up")])
        index.add(run(2), [clip("a", "anna", label="down")])
        assert [(c.label, "anna" in c.groups) for n in (1, 2) for c in index.clips_of(f"run-{n}")] == [
            ("up", False),
            ("down", True),
        ]
        numbers = index.by_id(identity("a"))
        assert [known.label for known in index.known(numbers)] == ["down"]
        assert [(row.run_id, row.clips) for row in index.heard(numbers)] == [("run-1", 1), ("run-2", 1)]


def test_shares_count_clips_copies_and_groups(path: Path) -> None:
    with Index.open(path) as index:
        assert [tuple(share) for share in index.shares("run-2")] == [
            ("test", "up", 1, 0),
            ("train", "up", 2, 2),
            ("validation", "up", 1, 0),
        ]
        assert ("speaker", "train", 1) in index.group_shares("run-2")
        assert index.first_sources("run-2", 1)[("train", "up")] == ["week/a1.wav"]
        index.add(run(9), [clip("a1", "ann", copies=None), clip("a2", "ann", copies=3)])
        assert [share.copies for share in index.shares("run-9")] == [None]


def test_clips_are_found_by_id_source_and_group(path: Path) -> None:
    with Index.open(path) as index:
        for numbers in (index.by_id(identity("a1")[:5]), index.by_source("week/a1.wav"), index.by_source("a1.wav")):
            assert [known.clip_id for known in index.known(numbers)] == [identity("a1")]
        assert index.by_source("1.wav") == [] and index.by_id("ff") == []
        assert len(index.by_group("speaker", "ann")) == 2
        assert ("speaker", "cat") in index.group_values()


def test_what_is_forgotten_is_gone_from_the_bytes_and_runs_stay(path: Path) -> None:
    assert b"a1.wav" in path.read_bytes()
    with Index.open(path) as index:
        assert index.forget([], ("speaker", "ann")) == 2
        assert [known.source for known in index.known(index.by_id(""))] == ["week/b1.wav", "week/c1.wav"]
        assert len(index.runs()) == 3 and index.listed("run-3") == 4
        assert index.runs()[0].validation[0].summary == "(erased) has too few clips"
        assert index.by_group("speaker", "ann") == []
        index.add(run(4, validation=()), WEEKS[2][1:3])
        assert len(index.clips_of("run-4")) == 2
    left = path.read_bytes()
    for name in (b"a1.wav", b"a2.wav", b"ann", identity("a1").encode(), identity("a2").encode()):
        assert name not in left, name
    assert list(path.parent.iterdir()) == [path]


def test_forgetting_one_clip_keeps_the_others_of_the_group(path: Path) -> None:
    with Index.open(path) as index:
        assert index.forget([identity("a1")], without=lambda text: text.upper()) == 1
        assert [known.source for known in index.known(index.by_group("speaker", "ann"))] == ["week/a2.wav"]
        assert index.runs()[0].reasons == ("BETTER",)
        assert index.forget([identity("a1")]) == 0


@pytest.mark.parametrize("damage", ["no database at all" * 100, ""])
def test_a_damaged_file_is_made_again(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "i.sqlite"
    path.write_text(damage)
    with Index.open(path) as index:
        assert index.run_ids() == set()
        index.add(run(1), WEEKS[0])
    with Index.open(path) as index:
        assert index.run_ids() == {"run-1"}


def test_a_file_of_another_form_is_made_again(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    with Index.open(path) as index:
        assert index.run_ids() == set()


def test_two_writers_leave_every_run_whole(tmp_path: Path) -> None:
    path = tmp_path / "i.sqlite"

    def write(numbers: range) -> None:
        with Index.open(path) as index:
            for number in numbers:
                index.add(run(number), [clip(f"clip {number} {n}", "ann") for n in range(20)])

    threads = [threading.Thread(target=write, args=(range(start, 10, 2),)) for start in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Index.open(path) as index:
        assert len(index.run_ids()) == 10
        for number in range(10):
            assert {c.source for c in index.clips_of(f"run-{number}")} == {
                f"week/clip {number} {n}.wav" for n in range(20)
            }


def test_a_failure_half_way_leaves_the_index_as_it_was(path: Path) -> None:
    broken = [*WEEKS[0], ClipUse(identity("z"), "up", "no json", "z.wav", "train")]
    with Index.open(path) as index:
        with pytest.raises(ValueError, match="Expecting value"):
            index.add(run(4), broken)
        assert "run-4" not in index.run_ids()
        assert sorted(index.clips_of("run-3")) == sorted(WEEKS[2])


def test_versions_are_replaced_and_come_in_order(path: Path) -> None:
    with Index.open(path) as index:
        index.set_versions("bells", [version(10), version(9)])
        index.set_versions("other", [])
        assert [found.version for found in index.versions("bells")] == ["9", "10"]
        assert index.versions("other") == []
