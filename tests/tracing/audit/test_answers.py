"""Both questions on three runs whose answers are counted by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tenuto.tracing.audit import answers
from tenuto.tracing.audit.index import Index
from tests.tracing.audit.sample import WEEKS, clip, fill, run, version

ALIASES = {"champion": "2", "previous": "1"}


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.open(tmp_path / "i.sqlite") as opened:
        fill(opened)
        yield opened


def test_a_version_leads_to_its_clips(index: Index) -> None:
    found = answers.model(index, version(2, 3), ALIASES, decision=7)
    assert (found.aliases, found.decision, found.erased) == (("champion",), 7, 0)
    assert [(s.split, s.label, s.clips, s.copies) for s in found.clips] == [
        ("train", "up", 2, 1),
        ("validation", "up", 1, 0),
        ("golden", "up", 1, 0),
    ]
    assert found.groups["speaker"] == {"train": 1, "validation": 1, "golden": 1}
    assert found.run is not None and found.run.run_id == "run-3"
    assert found.registered.evaluated_against == "1"


def test_erased_clips_are_counted(index: Index) -> None:
    index.forget([], ("speaker", "ann"))
    found = answers.model(index, version(2, 3), ALIASES)
    assert (found.erased, found.count("train"), found.count("validation")) == (2, 0, 1)


def test_a_version_of_no_run_says_so(index: Index) -> None:
    found = answers.model(index, version(5, 99), ALIASES)
    assert found.run is None and found.clips == () and found.erased == 0


def test_a_group_leads_to_every_version_by_role(index: Index) -> None:
    found = answers.heard(index, index.by_group("speaker", "ann"), {"bells": ALIASES}, {"group": "speaker=ann"})
    assert [(v.version, v.roles, v.aliases) for v in found.versions] == [
        ("1", {"trained": 1}, ("previous",)),
        ("2", {"trained": 2}, ("champion",)),
    ]
    assert [(r.run_id, r.versions) for r in found.runs] == [("run-1", ("1",)), ("run-2", ()), ("run-3", ("2",))]
    assert [(d.clips, d.runs) for d in found.datasets] == [(1, 1), (2, 1), (2, 1)]
    assert found.aliases == {"champion": "2", "previous": "1"}


def test_a_tested_clip_was_not_heard(index: Index) -> None:
    found = answers.heard(index, index.by_group("speaker", "cat"), {"bells": ALIASES}, {"group": "speaker=cat"})
    assert [(v.roles, v.has_heard) for v in found.versions] == [({"tested": 1}, False), ({"golden": 1}, False)]
    assert found.aliases == {}


def test_two_runs_of_one_dataset_are_one_dataset(index: Index) -> None:
    index.add(run(4, dataset_md5=run(3).dataset_md5), WEEKS[2])
    found = answers.heard(index, index.by_group("speaker", "ben"), {}, {"group": "speaker=ben"})
    assert [d.runs for d in found.datasets] == [1, 1, 2]


def test_rows_tell_weight_and_copies_of_what_was_trained_on() -> None:
    clips = [clip("a", "ann", copies=2), clip("b", "ben", "test")]
    trained, stopped = (answers.table(clips, run(1, is_trained=is_trained), {}) for is_trained in (True, False))
    assert [(row["weight"], row["copies"], row["group_speaker"]) for row in trained] == [(1, 2, "ann"), (0, 0, "ben")]
    assert [(row["weight"], row["copies"]) for row in stopped] == [(0, 0), (0, 0)]


def test_uneven_weights_are_those_of_label_and_groups(index: Index) -> None:
    """Of one label, ann's clip counts half and zoe's twice; ann's is erased."""
    clips = [clip("a", "ann"), clip("z", "zoe"), clip("b", "ben", "test")]
    index.add(run(9, weighting="uneven"), clips, {("up", clips[0].groups): 0.5, ("up", clips[1].groups): 2.0})
    found = answers.model(index, version(9), {})
    assert [(share.split, share.weights) for share in found.clips] == [("train", (0.5, 2.0)), ("test", None)]
    assert found.run is not None
    rows = answers.table(index.clips_of("run-9"), found.run, index.weights("run-9"))
    assert {row["group_speaker"]: row["weight"] for row in rows} == {"ann": 0.5, "zoe": 2.0, "ben": 0.0}
    index.forget([], ("speaker", "ann"))
    assert [share.weights for share in answers.model(index, version(9), {}).clips] == [(2.0, 2.0), None]
