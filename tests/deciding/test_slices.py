"""Which clips a rule looks at, and what becomes of slices with too few."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tenuto.deciding.policy import Rule
from tenuto.deciding.slices import Slices, slices_of
from tests.answers import clips_table, imagined


def sliced(clips: pd.DataFrame, folder: Path, **fields: Any) -> tuple[Slices, ...]:
    found = imagined(clips, folder, {"champion": 0.5, "candidate": 0.1})
    rule = Rule(**{"name": "r", "metric": "recall", "severity": "hold", "at_least": 0.5, **fields})
    return slices_of(rule, pd.read_parquet(found.probabilities_path), found)


@pytest.fixture
def clips() -> pd.DataFrame:
    """60 clips of three classes: speakers s0 to s3 with 15 each, one of them also from an accent."""
    table = clips_table(60, labels=3, speaker=4)
    table["group_accent"] = table["group_speaker"].map({"s0": "scottish"})
    table["group_site"] = None
    return table


def test_overall_is_every_clip_once(clips: pd.DataFrame, tmp_path: Path) -> None:
    (found,) = sliced(clips, tmp_path)
    assert [part.clips for part in found.judged] == [60] and found.is_complete


def test_each_class_keeps_all_clips_in_view(clips: pd.DataFrame, tmp_path: Path) -> None:
    (found,) = sliced(clips, tmp_path, of="worst class")
    assert [(part.label, part.clips) for part in found.judged] == [("c0", 20), ("c1", 20), ("c2", 20)]


def test_a_class_with_too_few_clips_leaves_the_rule_incomplete(clips: pd.DataFrame, tmp_path: Path) -> None:
    (found,) = sliced(clips[clips.index % 12 != 0], tmp_path, of="worst class", min_clips=16)
    assert [(part.label, part.clips) for part in found.too_small] == [("c0", 15)]
    assert not found.is_complete


def test_a_class_that_the_rule_names_is_required(clips: pd.DataFrame, tmp_path: Path) -> None:
    (found,) = sliced(clips, tmp_path, of="class=never heard")
    assert found.missing == "required slice missing: the test clips have no class 'never heard'"
    assert found.is_applicable and not found.is_complete


def test_a_class_that_only_the_champion_knows_is_no_class_here(clips: pd.DataFrame, tmp_path: Path) -> None:
    found = imagined(clips, tmp_path, {"champion": 0.5, "candidate": 0.1})
    table = pd.read_parquet(found.probabilities_path).assign(p_retired=0.0, p_new=0.1)
    found = found.model_copy(update={"labels": (*found.labels, "new", "retired")})
    rule = Rule(name="r", metric="recall", of="worst class", severity="hold", at_least=0.5)
    (slices,) = slices_of(rule, table, found)
    assert [part.label for part in (*slices.judged, *slices.too_small)] == ["c0", "c1", "c2", "new"]


def test_worst_group_covers_every_column_that_has_values(clips: pd.DataFrame, tmp_path: Path) -> None:
    found = sliced(clips, tmp_path, of="worst group")
    assert {s.column: [(p.name, p.clips) for p in s.judged] for s in found} == {
        "speaker": [(f"speaker 's{i}'", 15) for i in range(4)],
        "accent": [("accent 'scottish'", 15)],
    }


def test_without_groups_there_is_nothing_to_judge(tmp_path: Path) -> None:
    found = imagined(clips_table(20), tmp_path, {"candidate": 0.1}, None)
    rule = Rule(name="r", metric="accuracy", of="worst group", severity="hold", at_least=0.5)
    (slices,) = slices_of(rule, pd.read_parquet(found.probabilities_path), found)
    assert not slices.is_applicable and slices.judged == ()
    assert slices.missing.endswith(
        "every group column would be judged: speaker, accent, site or whatever the clips come with"
    )


def test_a_rule_that_does_not_apply_names_what_it_would_judge(clips: pd.DataFrame, tmp_path: Path) -> None:
    emptied = clips.assign(group_speaker=None, group_accent=None)
    found = imagined(emptied, tmp_path, {"candidate": 0.1}, None)
    table = pd.read_parquet(found.probabilities_path)
    for of, words in (
        ("worst group", "would be judged: speaker, accent, site (all empty)"),
        ("worst slice", "each of noise, duration, rate, codec, level would be judged"),
    ):
        rule = Rule(name="r", metric="accuracy", of=of, severity="hold", at_least=0.5)
        (slices,) = slices_of(rule, table, found)
        assert not slices.is_applicable and slices.missing.endswith(words)


def test_small_groups_are_judged_together(clips: pd.DataFrame, tmp_path: Path) -> None:
    few = clips[clips["group_speaker"].eq("s0") | (clips.index % 3 == 0)]
    (found,) = sliced(few, tmp_path, of="worst group=speaker", min_clips=10)
    assert [(part.name, part.clips) for part in found.judged] == [
        ("speaker 's0'", 15),
        ("the 3 smallest of speaker together", 15),
    ]
    assert found.is_complete and found.too_small == ()


def test_groups_too_small_even_together_are_judged_with_the_smallest_that_is_not(
    clips: pd.DataFrame, tmp_path: Path
) -> None:
    few = clips[clips["group_speaker"].isin(["s0", "s1"]) & (clips.index != 0) | (clips.index % 10 == 6)]
    (found,) = sliced(few, tmp_path, of="worst group=speaker", min_clips=10)
    counts = few["group_speaker"].value_counts()
    assert [(part.name, part.clips) for part in found.judged] == [
        ("speaker 's1'", counts["s1"]),
        ("the 3 smallest of speaker together", counts["s0"] + counts["s2"] + counts["s3"]),
    ]
    assert counts["s0"] < counts["s1"] and counts["s2"] + counts["s3"] < 10
    assert found.judged[1].plain == "the 3 smallest of speaker together"
    assert found.is_complete and found.too_small == ()


def test_a_single_group_that_is_too_small_is_judged_with_another(clips: pd.DataFrame, tmp_path: Path) -> None:
    few = clips[clips["group_speaker"].ne("s3") | (clips.index % 10 == 9)]
    (found,) = sliced(few, tmp_path, of="worst group=speaker", min_clips=10)
    assert sum(part.clips for part in found.judged) == len(few)
    assert found.judged[-1].name == "the 2 smallest of speaker together"


def test_where_no_group_has_enough_clips_nothing_is_judged(clips: pd.DataFrame, tmp_path: Path) -> None:
    (all_four,) = sliced(clips, tmp_path, of="worst group=speaker", min_clips=61)
    assert [part.name for part in all_four.too_small] == ["the 4 smallest of speaker together"]
    (alone,) = sliced(clips, tmp_path, of="worst group=accent", min_clips=16)
    assert [part.name for part in alone.too_small] == ["accent 'scottish'"]
    assert not (all_four.judged or alone.judged or all_four.is_complete or alone.is_complete)


def test_a_named_group_must_have_its_clips(clips: pd.DataFrame, tmp_path: Path) -> None:
    (enough,) = sliced(clips, tmp_path, of="accent=scottish", min_clips=10)
    assert [(part.name, part.clips) for part in enough.judged] == [("accent 'scottish'", 15)]
    (few,) = sliced(clips, tmp_path, of="accent=scottish", min_clips=16)
    assert [part.clips for part in few.too_small] == [15] and not few.missing and not few.is_complete
    (absent,) = sliced(clips, tmp_path, of="accent=welsh")
    assert absent.missing == "required slice missing: the test clips have no accent 'welsh'"


@pytest.mark.parametrize("of", ["worst group=site", "worst group=town", "town=leeds"])
def test_a_column_without_values_is_missing(clips: pd.DataFrame, tmp_path: Path, of: str) -> None:
    (found,) = sliced(clips, tmp_path, of=of)
    column = of.removeprefix("worst group=").partition("=")[0]
    lacking = f"the test clips have no group or slice {column!r} (known: speaker, accent)"
    assert found.missing == f"required slice missing: {lacking}"
    assert found.is_applicable and not found.is_complete


@pytest.fixture
def banded(clips: pd.DataFrame) -> pd.DataFrame:
    return clips.assign(
        slice_noise=["under 10 dB" if i % 4 == 0 else "over 10 dB" for i in clips.index],
        slice_codec=["flac" if i % 2 else None for i in clips.index],
    )


def with_bands(table: pd.DataFrame, banded: pd.DataFrame) -> pd.DataFrame:
    columns = ["clip_id", *(column for column in banded.columns if column.startswith("slice_"))]
    return table.merge(banded[columns], on="clip_id", how="left")


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        ("noise=under 10 dB", {"": [("noise 'under 10 dB'", 15)]}),
        ("worst slice=noise", {"noise": [("noise 'over 10 dB'", 45), ("noise 'under 10 dB'", 15)]}),
        ("worst slice", {"noise": [("noise 'over 10 dB'", 45), ("noise 'under 10 dB'", 15)]}),
        ("codec=flac", {"": [("codec 'flac'", 30)]}),
    ],
)
def test_acoustic_bands_are_slices(
    banded: pd.DataFrame, tmp_path: Path, of: str, expected: dict[str, list[tuple[str, int]]]
) -> None:
    found = imagined(banded, tmp_path, {"champion": 0.5, "candidate": 0.1})
    table = with_bands(pd.read_parquet(found.probabilities_path)[lambda t: [c for c in t if "slice" not in c]], banded)
    rule = Rule(name="r", metric="recall", severity="hold", at_least=0.5, of=of)
    slices = slices_of(rule, table, found)
    assert {s.column: [(p.name, p.clips) for p in s.judged] for s in slices} == expected
    assert all(part.plain == part.name for s in slices for part in s.judged)  # a band says nothing about anybody


def test_the_gap_between_two_groups(clips: pd.DataFrame, tmp_path: Path) -> None:
    (found,) = sliced(clips, tmp_path, of="worst group=speaker", minus="accent=scottish", at_least=-0.1)
    assert {(part.name, part.minus.name) for part in found.judged if part.minus} == {
        (f"speaker 's{i}'", "accent 'scottish'") for i in range(4)
    }


@pytest.mark.parametrize(
    ("minus", "of", "missing"),
    [("accent=welsh", "overall", "accent 'welsh'"), ("overall", "accent=welsh", "accent 'welsh'")],
)
def test_both_sides_of_a_gap_are_required(
    clips: pd.DataFrame, tmp_path: Path, minus: str, of: str, missing: str
) -> None:
    (found,) = sliced(clips, tmp_path, of=of, minus=minus, at_least=-0.1)
    assert missing in found.missing and not found.judged


def test_a_gap_to_too_few_clips_is_not_judged(clips: pd.DataFrame, tmp_path: Path) -> None:
    (found,) = sliced(clips, tmp_path, of="overall", minus="accent=scottish", at_least=-0.1, min_clips=20)
    assert not found.judged and [part.name for part in found.too_small] == ["accent 'scottish'"]


def test_plain_names_hold_no_group(clips: pd.DataFrame, tmp_path: Path) -> None:
    (found,) = sliced(clips, tmp_path, of="worst group=speaker")
    assert {part.plain for part in found.judged} == {"one speaker"}
    (named,) = sliced(clips, tmp_path, of="class=c1")
    assert [part.plain for part in named.judged] == ["class 'c1'"]
