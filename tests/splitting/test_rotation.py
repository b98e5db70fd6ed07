from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from tenuto.errors import TrainingError
from tenuto.settings import EvaluateSettings
from tenuto.splitting import rotation
from tenuto.splitting.holdout import Holdout, Rotation, Score, Units
from tenuto.splitting.pins import Pins, Unit
from tests.tones import ToneModel, write_clips

NOW = datetime(2026, 3, 2, tzinfo=UTC)


def table(speakers: dict[str, str], labels: str = "ab", batch: int = 0) -> pd.DataFrame:
    """One clip of each label of each speaker, whose clips are all in one split: {'ann': 'train'}."""
    rows = [
        {"clip_id": f"{name}-{label}", "family": f"{name}-{label}", "label": label, "split": split, "batch": batch}
        for name, split in speakers.items()
        for label in labels
    ]
    return pd.DataFrame(rows)


def units(clips: pd.DataFrame) -> list[Unit]:
    return [("group", clip_id.partition("-")[0]) for clip_id in clips["clip_id"]]


def drawn(clips: pd.DataFrame, heard: set[str] | None = None, holdout: Holdout | None = None) -> Rotation:
    return rotation.draw(clips, units(clips), heard or set(), holdout or Holdout(group="speaker"), NOW, "worn out")


def fresh(count: int) -> dict[str, str]:
    return {f"new{i:02d}": "train" for i in range(count)}


def test_half_of_the_fresh_units_become_golden_and_the_old_test_set_is_released():
    clips = table({"old": "test", **fresh(10)})
    clips.loc[clips["clip_id"] == "new00-a", "batch"] = 4
    found = drawn(clips)
    assert len(found.test.groups) == len(found.golden.groups) == 5
    assert {*found.test.groups, *found.golden.groups} == set(fresh(10))
    assert found.released == Units(groups=("old",))
    assert (found.at, found.reason, found.batch) == (NOW, "worn out", 4)


def test_no_more_units_are_taken_than_make_the_present_test_set_and_five():
    clips = table({f"old{i}": "test" for i in range(7)} | fresh(40))
    found = drawn(clips)
    assert len(found.test.groups) == len(found.golden.groups) == 7


def test_a_later_rotation_keeps_golden_and_draws_only_a_test_set():
    clips = table({"old": "test", "gold": "golden", **fresh(5)})
    past = Rotation(at=NOW, batch=0, test=Units(groups=("old",)), golden=Units(groups=("gold",)), released=Units())
    found = drawn(clips, holdout=Holdout(group="speaker", rotations=(past,)))
    assert found.test.groups == tuple(fresh(5))
    assert found.golden == Units()


def test_what_a_registered_version_heard_is_not_fresh_nor_what_has_a_near_duplicate_of_it():
    clips = table({"old": "test", **fresh(12)})
    clips.loc[clips["clip_id"] == "new01-a", "family"] = "heard-family"
    found = drawn(clips, heard={"new00-b", "heard-family"})
    assert not {"new00", "new01"} & {*found.test.groups, *found.golden.groups}


def test_a_released_test_set_does_not_come_back():
    clips = table({"old": "test", "gold": "golden", "older": "train", "oldest": "train", **fresh(5)})
    parts = {"test": Units(groups=("older",)), "golden": Units(groups=("gold",)), "released": Units(groups=("oldest",))}
    found = drawn(clips, holdout=Holdout(group="speaker", rotations=(Rotation(at=NOW, batch=0, **parts),)))
    assert found.test.groups == tuple(fresh(5))


def test_units_of_a_rare_class_are_taken_beyond_the_size():
    clips = table({"old": "test", **fresh(40)}, labels="a")
    rare = table({"old": "test", "new38": "train", "new39": "train"}, labels="r")
    found = drawn(pd.concat([clips, rare], ignore_index=True).assign(batch=0), holdout=with_golden())
    assert {"new38", "new39"} & set(found.test.groups)
    assert len(found.test.groups) in (5, 6)


def with_golden() -> Holdout:
    past = Rotation(at=NOW, batch=0, test=Units(), golden=Units(groups=("gold",)), released=Units())
    return Holdout(group="speaker", rotations=(past,))


@pytest.mark.parametrize(
    ("holdout", "message"),
    [
        (
            Holdout(group="speaker"),
            r"^4 fresh speakers, wanted at least 10 \(5 to test on and 5 golden\)\. .*`tenuto data ",
        ),
        (with_golden(), r"^4 fresh speakers, wanted at least 5\. .* rotate before a retrain learns from them\.$"),
        (Holdout(), r"^4 fresh recordings, wanted at least 10"),
    ],
    ids=["first", "later", "no groups"],
)
def test_too_few_fresh_units_say_how_many_are_wanted_and_what_to_do(holdout, message):
    with pytest.raises(TrainingError, match=message):
        drawn(table({"old": "test", **fresh(4)}), holdout=holdout)


def test_fresh_units_without_a_class_of_the_test_set_are_refused():
    clips = pd.concat([table({"old": "test"}, labels="abz"), table(fresh(10))], ignore_index=True)
    with pytest.raises(TrainingError, match="the fresh speakers to test on have no clip of 'z', which the present"):
        drawn(clips)


def test_the_first_rotation_keeps_the_names_of_params_and_later_ones_keep_them_too():
    first = rotation.rotated(Holdout(), drawn(table({"old": "test", **fresh(10)})), "speaker", {"speaker": ("old",)})
    second = rotation.rotated(first, first.rotations[0], "speaker", {"speaker": ("old",)})
    assert first.hold_out == second.hold_out == {"speaker": ("old",)}
    assert (first.generation, second.generation) == ("2", "3")


def test_what_was_pinned_by_a_removal_stays_pinned():
    pinned = Pins.of({("group", "ann"): "train"}, (), (), settings="d", before=None)
    after = rotation.rotated(Holdout(pinned=pinned), drawn(table({"old": "test", **fresh(10)})), "speaker", {})
    assert (after.pinned, after.generation, after.group) == (pinned, "2", "speaker")


def scores(old: float, new: float, reach: float) -> dict[str, Score]:
    return {
        name: Score(clips=100, accuracy=(at, at - reach, at + reach), macro_f1=(at, at - reach, at + reach))
        for name, at in ((rotation.OLD, old), (rotation.NEW, new))
    }


@pytest.mark.parametrize(("old", "new", "flatters"), [(0.95, 0.85, True), (0.95, 0.90, False), (0.85, 0.95, False)])
def test_the_old_test_set_flattered_when_it_scores_higher_beyond_chance(old, new, flatters):
    # 0.04 each way: independent differences reach 0.04 * sqrt(2) = 0.057
    said = rotation.comparison(scores(old, new, 0.04))
    assert said.startswith("The old test set flattered" if flatters else "The old test set did not flatter")
    assert f"accuracy {old:.3f} on the old test set, {new:.3f} on the new one" in said


def test_a_champion_that_was_not_scored_is_not_compared():
    assert rotation.comparison({}) == ""


def test_the_champion_is_scored_without_the_clips_that_it_was_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # the model calls every high tone something else: 12 of 36 clips wrong
    monkeypatch.setattr("tenuto.learning.predictor.Predictor.load", lambda path: ToneModel(deaf_to="high"))
    clips = write_clips(tmp_path, 4)
    options = (tmp_path, EvaluateSettings(resamples=200), "speaker", tmp_path / "answers.parquet")
    found = rotation.score(Path("champion"), clips, *options)
    assert found is not None
    assert (found.clips, found.accuracy[0]) == (36, pytest.approx(24 / 36, abs=1e-4))
    assert found.accuracy[1] < found.accuracy[0] < found.accuracy[2]
    known = frozenset(clips.loc[clips["label"] == "high", "clip_id"])
    without = rotation.score(Path("champion"), clips, *options, known)
    assert without is not None
    assert (without.clips, without.accuracy[0]) == (24, 1)
    assert rotation.score(Path("champion"), clips, *options, frozenset(clips["clip_id"])) is None
