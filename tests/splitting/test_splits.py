import logging
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenuto.errors import SettingsError, TrainingError
from tenuto.settings import SplitSettings
from tenuto.splitting import splits
from tenuto.splitting.holdout import Holdout, Rotation, Units


def manifest(rows: list[dict]) -> pd.DataFrame:
    """A manifest of the columns that splits look at; clip ids and families follow the row number."""
    clips = pd.DataFrame(rows)
    clips.insert(0, "clip_id", [f"{i:04d}" for i in range(len(clips))])
    for column, default in {"batch": 0, "label": "one"}.items():
        clips[column] = clips[column].fillna(default).astype(type(default)) if column in clips else default
    clips["family"] = clips["family"].fillna(clips["clip_id"]) if "family" in clips else clips["clip_id"]
    return clips


def speakers(names: str, labels: str = "ab", clips_each: int = 2, **more) -> list[dict]:
    return [
        {"group_speaker": name, "label": label, **more} for name in names for label in labels for _ in range(clips_each)
    ]


def splits_of(clips: pd.DataFrame, column: str) -> dict[str, set[str]]:
    return {split: set(rows[column]) for split, rows in clips.groupby("split")}


def test_five_equal_speakers_are_divided_three_to_one_to_one():
    # wanted of 5 units: train 3.25, validation 0.75, test 1
    clips = splits.assign(manifest(speakers("vwxyz")), SplitSettings())
    assert clips.groupby("split")["group_speaker"].nunique().to_dict() == {"train": 3, "validation": 1, "test": 1}
    assert clips.groupby("group_speaker")["split"].nunique().max() == 1


def test_three_speakers_fill_three_splits_though_training_lacks_most():
    clips = splits.assign(manifest(speakers("xyz")), SplitSettings(validation=0.05, test=0.05))
    assert clips.groupby("split")["group_speaker"].nunique().to_dict() == {"train": 1, "validation": 1, "test": 1}


def test_the_manifest_comes_back_in_its_order_with_two_more_columns():
    before = manifest(speakers("vwxyz"))
    clips = splits.assign(before, SplitSettings())
    pd.testing.assert_frame_equal(clips.drop(columns=["split", "aside_reason"]), before)
    assert set(clips["aside_reason"]) == {""}


def test_without_groups_single_clips_are_divided_with_even_labels():
    rows = [{"label": label} for label in "abcd" for _ in range(100)] + [{"label": "rare"} for _ in range(10)]
    clips = splits.assign(manifest(rows), SplitSettings(validation=0.2, test=0.3))
    counts = pd.crosstab(clips["label"], clips["split"])
    for label in "abcd":
        assert counts.loc[label].to_dict() == pytest.approx({"train": 50, "validation": 20, "test": 30}, abs=2)
    assert counts.loc["rare"].to_dict() == pytest.approx({"train": 5, "validation": 2, "test": 3}, abs=1)


def test_another_seed_divides_otherwise_and_the_same_one_alike():
    clips = manifest(speakers("abcdefghijkl"))
    first, again, other = (splits.assign(clips, SplitSettings(seed=seed)) for seed in (1, 1, 2))
    assert splits_of(first, "group_speaker") == splits_of(again, "group_speaker")
    assert splits_of(first, "group_speaker") != splits_of(other, "group_speaker")


def test_the_order_of_the_rows_does_not_matter():
    clips = manifest(speakers("abcdefgh"))
    shuffled = clips.sample(frac=1, random_state=3)
    first = splits.assign(clips, SplitSettings()).set_index("clip_id")["split"]
    second = splits.assign(shuffled, SplitSettings()).set_index("clip_id")["split"]
    pd.testing.assert_series_equal(first, second.sort_index())


def test_held_out_speakers_are_the_test_set_exactly():
    clips = splits.assign(manifest(speakers("abcdefgh")), SplitSettings(hold_out={"speaker": ("c", "f")}))
    by_split = splits_of(clips, "group_speaker")
    assert by_split["test"] == {"c", "f"}
    assert by_split["train"] | by_split["validation"] == set("abdegh")
    assert by_split["train"].isdisjoint(by_split["validation"])


def test_holding_out_an_accent_sets_the_other_clips_of_its_speakers_aside():
    rows = speakers("abcdef", group_accent="north") + speakers("f", group_accent="south")
    clips = splits.assign(manifest(rows), SplitSettings(hold_out={"accent": ("south",)}))
    assert set(clips.loc[clips["group_accent"] == "south", "split"]) == {"test"}
    rest = clips[(clips["group_speaker"] == "f") & (clips["group_accent"] == "north")]
    assert set(rest["split"]) == {"aside"}
    assert set(rest["aside_reason"]) == {"the same speaker is heard in the test set that is held out by name"}


def test_a_near_duplicate_of_a_held_out_clip_is_set_aside_even_when_it_was_there_first():
    rows = speakers("abcdef", batch=0) + speakers("g", batch=1)
    clips = manifest(rows)
    clips.loc[clips["group_speaker"] == "g", "family"] = "0000"
    clips = splits.assign(clips, SplitSettings(hold_out={"speaker": ("g",)})).set_index("clip_id")
    assert clips.loc["0000", "split"] == "aside"
    assert (
        clips.loc["0000", "aside_reason"]
        == f"near-duplicate of {clips[clips['split'] == 'test'].index[0]}, a test clip"
    )
    assert (clips["split"] == "aside").sum() == 1


def test_without_names_the_older_clip_keeps_its_place_and_the_younger_is_set_aside():
    before = splits.assign(manifest(speakers("abcdef")), SplitSettings()).set_index("clip_id")
    rows = manifest(speakers("abcdef") + speakers("ghijkl", batch=1))
    younger = rows[(rows["batch"] == 1)].index
    rows.loc[younger, "family"] = before.index[before["split"] == "train"][0]
    after = splits.assign(rows, SplitSettings()).set_index("clip_id")
    assert (after.loc[before.index, "split"] == before["split"]).all()
    assert set(after.loc[after["batch"] == 1, "split"]) == {"train", "aside"}


def test_near_duplicates_stay_together_when_there_are_no_groups():
    rows = [{"label": label, "family": f"{label}{i // 3}"} for label in "ab" for i in range(60)]
    clips = splits.assign(manifest(rows), SplitSettings())
    assert clips.groupby("family")["split"].nunique().max() == 1
    assert "aside" not in set(clips["split"])


def test_two_speakers_are_divided_clip_by_clip_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        clips = splits.assign(manifest(speakers("ab", clips_each=20)), SplitSettings())
    assert "Only 2 speaker values ('a', 'b') for 3 empty splits" in caplog.text
    assert clips["split"].value_counts().to_dict() == pytest.approx({"train": 52, "validation": 12, "test": 16}, abs=1)


def test_speakers_that_come_later_are_whole_though_the_first_two_were_divided():
    first = speakers("ab", clips_each=20)
    before = splits.assign(manifest(first), SplitSettings()).set_index("clip_id")["split"]
    clips = splits.assign(manifest(first + speakers("cdef", batch=1)), SplitSettings()).set_index("clip_id")
    assert (clips.loc[before.index, "split"] == before).all()
    assert clips[clips["batch"] == 1].groupby("group_speaker")["split"].nunique().max() == 1


def test_clips_of_unknown_speakers_are_divided_by_themselves():
    rows = speakers("abcdef") + [{"group_speaker": None, "label": label} for label in "ab" * 20]
    clips = splits.assign(manifest(rows), SplitSettings())
    assert clips.loc[clips["group_speaker"].isna(), "split"].nunique() == 3
    assert clips.dropna().groupby("group_speaker")["split"].nunique().max() == 1


def test_a_named_group_other_than_the_automatic_one_is_kept_whole():
    rows = [{"group_speaker": f"s{i % 3}", "group_site": f"p{i % 7}", "label": "ab"[i % 2]} for i in range(210)]
    clips = splits.assign(manifest(rows), SplitSettings(group="site"))
    assert clips.groupby("group_site")["split"].nunique().max() == 1


@pytest.mark.parametrize(
    ("choice", "group"), [("auto", "recording"), ("site", "site"), (None, None)], ids=["auto", "named", "none"]
)
def test_group_name(choice, group):
    clips = manifest([{"group_site": "p", "group_recording": "r", "group_accent": "x"}])
    assert splits.group_name(clips, SplitSettings(group=choice)) == group


def test_accents_alone_are_no_automatic_group():
    assert splits.group_name(manifest([{"group_accent": "x"}]), SplitSettings()) is None


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"group": "spaeker"}, r"split\.group = 'spaeker'.*known groups: 'accent', 'speaker'\."),
        ({"hold_out": {"site": ("p",)}}, r"split\.hold_out\.site: .*known groups: 'accent', 'speaker'\."),
        ({"hold_out": {"speaker": ("zoe",)}}, r"split\.hold_out\.speaker = 'zoe'.*known: 'a', 'b', 'c'\."),
    ],
)
def test_choices_that_do_not_fit_the_clips_name_the_value_and_what_is_known(choices, message):
    clips = manifest(speakers("abc", group_accent="north"))
    with pytest.raises(SettingsError, match=message):
        splits.assign(clips, SplitSettings(**choices))


@pytest.mark.parametrize(
    ("rows", "choices", "message"),
    [
        (
            speakers("abc", labels="x"),
            {},
            r"all 6 clips have the class 'x'; a classifier needs at least 2 classes: add",
        ),
        ([{"label": "a"}, {"label": "b"}], {}, r"2 clips cannot be divided: none left for"),
        (speakers("abc"), {"hold_out": {"speaker": ("a", "b", "c")}}, r"none left for train, validation\."),
        (
            [*speakers("abcdef", labels="x"), *speakers("g", labels="y")],
            {"hold_out": {"speaker": ("g",)}},
            r"all 10 clips for training have the class 'x'; .* of another, or hold out less by name",
        ),
    ],
    ids=["one class", "two clips", "all held out", "one class left to train"],
)
def test_too_little_to_divide_is_an_error_that_says_what_is_left(rows, choices, message):
    with pytest.raises(TrainingError, match=message):
        splits.assign(manifest(rows), SplitSettings(**choices))


def history(seed: int, size: int, with_speakers: bool) -> pd.DataFrame:
    """Clips of up to four batches, some without a speaker, some near-duplicates of earlier ones."""
    rng = np.random.default_rng(seed)
    rows: list[dict] = []
    for i in range(size):
        row = {"label": rng.choice(["a", "b", "c"]), "batch": min(3, 4 * i // size)}
        if with_speakers:
            row["group_speaker"] = rng.choice([None, *"pqrstuvw"])
        original = rng.integers(3 * i + 1)
        row["family"] = rows[original]["family"] if original < i else f"{i:04d}"
        rows.append(row)
    return manifest(rows)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(12, 60), with_speakers=st.booleans())
def test_no_clip_moves_when_batches_are_added_and_no_family_is_in_two_splits(seed, size, with_speakers):
    clips = history(seed, size, with_speakers)
    placed = []
    for batch in range(4):
        try:
            placed.append(splits.assign(clips[clips["batch"] <= batch], SplitSettings()).set_index("clip_id"))
        except TrainingError:
            continue
    for before, after in pairwise(placed):
        assert (after.loc[before.index, "split"] == before["split"]).all()
    for division in placed[-1:]:
        used = division[division["split"] != "aside"]
        assert used.groupby("family")["split"].nunique().max() == 1
        assert set(division.loc[division["split"] == "aside", "aside_reason"].str[:17]) <= {"near-duplicate of"}


def rotation(batch: int, **units: str) -> Rotation:
    """A rotation of groups whose names are single letters: rotation(0, test="ab", released="c")."""
    parts = {"test": "", "released": ""} | units
    named = {part: Units(groups=tuple(names)) for part, names in parts.items()}
    return Rotation(at=datetime(2026, 3, 2, tzinfo=UTC), batch=batch, **named)


def rotated(*rotations: Rotation, **more) -> Holdout:
    return Holdout(group="speaker", rotations=rotations, **more)


def test_a_rotation_moves_the_units_that_it_names_and_no_other():
    clips = manifest(speakers("abcdefghijkl"))
    before = splits.assign(clips, SplitSettings())
    old, others = (sorted(splits_of(before, "group_speaker")[split]) for split in ("test", "train"))
    holdout = rotated(rotation(0, test="".join(others[:2]), golden=others[2], released="".join(old)))
    after = splits.assign(clips, SplitSettings(), holdout)
    by_split = splits_of(after, "group_speaker")
    assert by_split["test"] == set(others[:2])
    assert by_split["golden"] == {others[2]}
    assert set(old) <= by_split["train"]
    assert by_split["validation"] == splits_of(before, "group_speaker")["validation"]


def test_new_speakers_after_a_rotation_fill_the_splits_as_before_and_none_becomes_golden():
    old = manifest(speakers("abcdefghij"))
    before = splits_of(splits.assign(old, SplitSettings()), "group_speaker")
    trained = sorted(before["train"])
    holdout = rotated(rotation(0, test=trained[0], golden=trained[1], released="".join(before["test"])))
    clips = manifest(speakers("abcdefghij") + speakers("klmnopqrst", batch=1))
    after = splits.assign(clips, SplitSettings(), holdout)
    new = after[after["batch"] == 1].groupby("split")["group_speaker"].nunique()
    # of the 19 units that are not golden: train 12.35, validation 2.85, test 3.8; there were 6, 2 and 1
    assert new.to_dict() == {"train": 6, "validation": 1, "test": 3}
    earlier = splits.assign(old, SplitSettings(), holdout).set_index("clip_id")["split"]
    assert (after.set_index("clip_id").loc[earlier.index, "split"] == earlier).all()


def test_later_clips_of_a_moved_speaker_follow_her():
    clips = manifest(speakers("abcdef") + speakers("abcdef", batch=1))
    before = splits_of(splits.assign(clips, SplitSettings()), "group_speaker")
    moved, released = min(before["train"]), min(before["test"])
    after = splits.assign(clips, SplitSettings(), rotated(rotation(0, test=moved, released=released)))
    assert set(after.loc[after["group_speaker"] == moved, "split"]) == {"test"}
    assert set(after.loc[after["group_speaker"] == released, "split"]) == {"train"}


def test_a_test_set_by_name_is_released_by_a_rotation_with_all_that_was_aside_for_it():
    rows = speakers("abcdef", group_accent="north") + speakers("f", group_accent="south")
    settings = SplitSettings(hold_out={"accent": ("south",)})
    before = splits.assign(manifest(rows), settings)
    fresh = min(splits_of(before, "group_speaker")["train"])
    holdout = rotated(rotation(0, test=fresh, released="f"), hold_out={"accent": ("south",)})
    after = splits.assign(manifest(rows), settings, holdout)
    assert splits_of(after, "group_speaker")["test"] == {fresh}
    assert set(after.loc[after["group_speaker"] == "f", "split"]) == {"train"}
    assert set(after["aside_reason"]) == {""}
    with pytest.raises(
        SettingsError, match=r"split\.hold_out = empty: it was .*south.* when the test set was first rot"
    ):
        splits.assign(manifest(rows), SplitSettings(), holdout)


def test_another_group_than_the_rotations_is_refused():
    clips = manifest([{**row, "group_site": row["group_speaker"]} for row in speakers("abcdef")])
    with pytest.raises(
        SettingsError, match=r"split\.group gives 'site' and holdout\.yaml names test clips by 'speaker'"
    ):
        splits.assign(clips, SplitSettings(group="site"), rotated(rotation(0, test="a", released="b")))


def test_a_golden_clip_stays_golden_though_a_near_duplicate_of_the_same_batch_is_tested():
    clips = manifest(speakers("abcdef"))
    clips.loc[[4, 12], "family"] = "0004"  # of speakers b and d
    after = splits.assign(clips, SplitSettings(), rotated(rotation(0, test="b", golden="d", released="a")))
    assert after["split"].iloc[12] == "golden"
    assert after["aside_reason"].iloc[4] == "near-duplicate of 0012, a golden clip"


def test_the_units_of_clips_without_a_speaker_are_their_families():
    clips = manifest([*speakers("abc"), {"group_speaker": None, "label": "a"}])
    assert splits.divided(clips, SplitSettings())[1][-2:] == [("group", "c"), ("family", "0012")]


def test_a_clip_that_is_held_out_by_name_stays_tested_when_a_copy_without_the_name_arrives():
    rows = [{"label": "ab"[i % 2], "group_site": "s" if i < 4 else None} for i in range(20)]
    rows.append({"label": "a", "group_site": None, "family": "0000", "batch": 1})
    clips = splits.assign(manifest(rows), SplitSettings(group=None, hold_out={"site": ("s",)}))
    assert set(clips["split"].iloc[:4]) == {"test"}
    assert clips["split"].iloc[20] == "aside"


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(24, 60), with_speakers=st.booleans())
def test_no_clip_moves_between_rotations(seed, size, with_speakers):
    clips = history(seed, size, with_speakers)
    rng = np.random.default_rng(seed)
    kept_whole = splits.Division(
        clips, "speaker" if with_speakers else None, np.zeros(size, bool), SplitSettings(), Holdout()
    ).placed()[1]
    rotations, past = [], Holdout()
    for batch in (0, 2):
        there = sorted({unit for unit, at in zip(kept_whole, clips["batch"], strict=True) if at <= batch})
        drawn = [there[i] for i in rng.choice(len(there), size=min(4, len(there)), replace=False)]
        parts = {"test": drawn[:1], "golden": drawn[1:2], "released": drawn[2:]}
        at = datetime(2026, 3, 2, tzinfo=UTC)
        rotations.append(Rotation(at=at, batch=batch, **{part: Units.of(units) for part, units in parts.items()}))
    past = Holdout(group="speaker" if with_speakers else None, rotations=tuple(rotations))
    placed: list[pd.Series] = []
    for batch in (2, 3):
        try:
            found = splits.assign(clips[clips["batch"] <= batch], SplitSettings(), past)
        except TrainingError:
            continue
        placed.append(found.set_index("clip_id")["split"])
        used = found[found["split"] != "aside"]
        assert used.groupby("family")["split"].nunique().max() == 1
    for before, after in pairwise(placed):
        assert (after.loc[before.index] == before).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(24, 60))
def test_a_rotation_moves_nothing_else_that_was_there(seed, size):
    clips = history(seed, size, with_speakers=True)
    before, after = (splits.Division(clips, "speaker", np.zeros(size, bool), SplitSettings(), holdout).placed()[0]
                     for holdout in (Holdout(), rotated(rotation(3, test="p", golden="q", released="rs"))))  # fmt: skip
    others = ~clips["group_speaker"].isin([*"pqrs"])
    assert np.array_equal(np.array(before)[others], np.array(after)[others])
