"""What stays where it was when clips are taken out of the dataset: the pins in the division."""

import logging
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenuto.errors import SettingsError, TrainingError
from tenuto.settings import SplitSettings
from tenuto.splitting import splits
from tenuto.splitting.holdout import Holdout, Rotation, Units
from tenuto.tracing.erasure.identities import Identities
from tests.splitting.test_splits import history, manifest, rotated, rotation, speakers, splits_of


def taken_out(
    clips: pd.DataFrame, gone: np.ndarray, choices: SplitSettings, holdout: Holdout | None = None, forgets: bool = True
) -> tuple[pd.DataFrame, Holdout]:
    """The manifest without the rows that are gone, and the holdout that goes with it."""
    ids = list(clips.loc[gone, "clip_id"])
    families = Identities.of(clips.assign(source=clips["clip_id"]), ids, []).families
    after = splits.without(clips, choices, holdout or Holdout(), gone, families, forgets=forgets)
    return clips[~gone].assign(family=lambda rows: rows["family"].replace(families)), after


def by_id(clips: pd.DataFrame, choices: SplitSettings, holdout: Holdout) -> pd.Series:
    return splits.assign(clips, choices, holdout).set_index("clip_id")["split"]


def test_nobody_else_moves_when_a_speaker_is_taken_out_though_the_division_alone_would_move_some():
    clips = manifest(speakers("abcdefghijklmnopqrst"))
    before = by_id(clips, SplitSettings(), Holdout())
    moved = 0
    for name in "abcdefghijklmnopqrst":
        rest, holdout = taken_out(clips, clips["group_speaker"].eq(name).to_numpy(), SplitSettings())
        assert (by_id(rest, SplitSettings(), holdout) == before[rest["clip_id"]]).all()
        moved += int((by_id(rest, SplitSettings(), Holdout()) != before[rest["clip_id"]]).sum())
    assert moved > 100  # of 20 times 76


def test_new_speakers_after_a_removal_fill_what_it_left_short():
    clips = manifest(speakers("abcdefghij") + speakers("klmnopqrst", batch=1))
    first = clips[clips["batch"] == 0]
    before = splits.assign(first, SplitSettings())
    trained = sorted(splits_of(before, "group_speaker")["train"])[:3]
    rest, holdout = taken_out(first, first["group_speaker"].isin(trained).to_numpy(), SplitSettings())
    after = splits.assign(pd.concat([rest, clips[clips["batch"] == 1]]), SplitSettings(), holdout)
    new = after[after["batch"] == 1].groupby("split")["group_speaker"].nunique()
    # of 17 speakers: train 11.05, validation 2.55, test 3.4; there were 3, 2 and 2
    assert new.to_dict() == {"train": 8, "validation": 1, "test": 1}


def test_a_removed_speaker_who_comes_back_finds_her_split_and_an_erased_one_is_nowhere():
    clips = manifest(speakers("abcdefghijkl"))
    before = by_id(clips, SplitSettings(), Holdout())
    for name in "abcdefghijkl":
        gone = clips["group_speaker"].eq(name).to_numpy()
        rest, holdout = taken_out(clips, gone, SplitSettings(), forgets=False)
        back = pd.concat([rest, clips[gone].assign(batch=1)])
        assert (by_id(back, SplitSettings(), holdout)[before.index] == before).all()
        pins = holdout.pinned
        assert pins is not None
        assert set(pins.homes([("group", name)])) == {("group", name)}
        assert holdout.without(name).pinned.homes([("group", name)]) == {}


def test_under_other_settings_all_is_divided_anew_and_under_the_old_ones_as_before(caplog):
    clips = manifest(speakers("abcdefghijkl"))
    rest, holdout = taken_out(clips, clips["group_speaker"].eq("c").to_numpy(), SplitSettings())
    with caplog.at_level(logging.WARNING):
        other = by_id(rest, SplitSettings(seed=3), holdout)
    assert "holdout.yaml, pinned): all clips are divided anew" in caplog.text
    assert (other == by_id(rest, SplitSettings(seed=3), Holdout())).all()
    assert (
        by_id(rest, SplitSettings(group="speaker"), holdout) == by_id(clips, SplitSettings(), Holdout())[other.index]
    ).all()


def test_nothing_is_pinned_when_a_split_would_be_left_empty():
    clips = manifest(speakers("vwxyz"))
    tested = splits.assign(clips, SplitSettings())["split"].eq("test").to_numpy()
    rest, holdout = taken_out(clips, tested, SplitSettings())
    assert holdout == Holdout()
    assert set(by_id(rest, SplitSettings(), holdout)) == {"train", "validation", "test"}


def test_who_is_held_out_by_name_stays_so_and_her_name_may_leave_params_when_she_is_gone():
    clips = manifest(speakers("abcdefghijkl"))
    named = SplitSettings(hold_out={"speaker": ("c", "f")})
    before = by_id(clips, named, Holdout())
    rest, holdout = taken_out(clips, clips["group_speaker"].eq("c").to_numpy(), named)
    with pytest.raises(SettingsError, match=r"split\.hold_out\.speaker = 'c'"):
        splits.assign(rest, named, holdout)
    after = by_id(rest, SplitSettings(hold_out={"speaker": ("f",)}), holdout)
    assert (after == before[after.index]).all()


def test_after_a_rotation_params_has_lost_the_name_before_holdout_does():
    clips = manifest(speakers("abcdefghijkl"))
    named = {"speaker": ("c", "f")}
    past = rotated(rotation(0, test="ab", golden="d", released="cf"), hold_out=named)
    before = by_id(clips, SplitSettings(hold_out=named), past)
    edited = SplitSettings(hold_out={"speaker": ("f",)})
    rest, holdout = taken_out(clips, clips["group_speaker"].eq("c").to_numpy(), edited, past)
    assert holdout.hold_out == {"speaker": ("f",)}
    after = by_id(rest, edited, holdout.without("c"))
    assert (after == before[after.index]).all()


def test_what_was_aside_for_a_recording_that_is_gone_stays_aside():
    clips = manifest(speakers("abcdef"))
    home = splits.assign(clips, SplitSettings()).groupby("group_speaker")["split"].first()
    kept, torn = home.index[home == "test"][0], home.index[home == "train"][0]
    original = clips.index[clips["group_speaker"] == kept][0]
    copy = clips.index[clips["group_speaker"] == torn][0]
    clips.loc[copy, "family"] = clips.loc[original, "family"]
    before = by_id(clips, SplitSettings(), Holdout())
    assert before[clips.loc[copy, "clip_id"]] == "aside"
    rest, holdout = taken_out(clips, clips.index == original, SplitSettings())
    found = splits.assign(rest, SplitSettings(), holdout).set_index("clip_id")
    assert (found["split"] == before[found.index]).all()
    assert found.loc[clips.loc[copy, "clip_id"], "aside_reason"] == (
        "near-duplicate of a clip of another split that was taken out"
    )


def test_a_speaker_that_was_divided_clip_by_clip_stays_so_though_her_first_clips_go():
    clips = manifest(speakers("ab", clips_each=20) + speakers("cdefa", clips_each=8, batch=1))
    before = by_id(clips, SplitSettings(), Holdout())
    first = clips["group_speaker"].eq("a") & clips["batch"].eq(0)
    rest, holdout = taken_out(clips, first.to_numpy(), SplitSettings())
    after = by_id(rest, SplitSettings(), holdout)
    assert (after == before[after.index]).all()
    assert after[rest.loc[rest["group_speaker"] == "a", "clip_id"]].nunique() == 3


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(30, 90), with_speakers=st.booleans())
def test_no_clip_moves_whatever_is_taken_out_added_and_rotated(seed, size, with_speakers):
    rng = np.random.default_rng(seed)
    future, choices = history(seed, size, with_speakers), SplitSettings()
    group = "speaker" if with_speakers else None
    clips, holdout = future[:0], Holdout()
    for batch in range(4):
        before = try_by_id(clips, choices, holdout)
        arrived = future[future["batch"] == batch]
        clips = pd.concat([clips, arrived], ignore_index=True)
        assert_unmoved(before, try_by_id(clips, choices, holdout))
        for _ in range(rng.integers(3)):
            before = try_by_id(clips, choices, holdout)
            if before is None:
                continue
            units = splits.divided(clips, choices, holdout)[1]
            drawn = rng.permutation(sorted(set(units)))[:3].tolist()
            named = np.array([list(unit) in drawn for unit in units])
            if rng.random() < 0.6:
                gone = named if rng.random() < 0.5 else rng.random(len(clips)) < 0.2
                families = clips.set_index("clip_id")["family"]
                clips, holdout = taken_out(clips, gone, choices, holdout, forgets=bool(rng.random() < 0.5))
                future = future.assign(family=future["family"].replace(renamed(families, clips)))
                if holdout.pinned:
                    assert_unmoved(before, try_by_id(clips, choices, holdout))
            else:
                parts = dict(zip(("test", "golden", "released"), ([tuple(unit)] for unit in drawn), strict=False))
                moved = {part: Units.of(parts.get(part, [])) for part in ("test", "golden", "released")}
                at = datetime(2026, 3, 2, tzinfo=UTC)
                turn = Rotation(at=at, batch=int(clips["batch"].max()), **moved)
                homes = placed(clips, group, holdout)
                holdout = holdout.model_copy(update={"group": group, "rotations": (*holdout.rotations, turn)})
                assert (homes[~named] == placed(clips, group, holdout)[~named]).all()


def renamed(families: pd.Series, after: pd.DataFrame) -> dict[str, str]:
    """The families that have another name after a removal, as recordings to come will find them."""
    now = after.set_index("clip_id")["family"]
    pairs = zip(families[now.index], now, strict=True)
    return {old: new for old, new in pairs if old != new}


def placed(clips: pd.DataFrame, group: str | None, holdout: Holdout) -> np.ndarray:
    """Each clip's split before any is set aside."""
    nobody = np.zeros(len(clips), dtype=bool)
    return np.array(splits.Division(clips, group, nobody, SplitSettings(), holdout).placed()[0])


def try_by_id(clips: pd.DataFrame, choices: SplitSettings, holdout: Holdout) -> pd.Series | None:
    try:
        return by_id(clips, choices, holdout)
    except TrainingError:
        return None


def assert_unmoved(before: pd.Series | None, after: pd.Series | None) -> None:
    if before is not None and after is not None:
        stayed = before.index.intersection(after.index)
        assert (after[stayed] == before[stayed]).all()
