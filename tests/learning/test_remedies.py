"""Remedies on chirps of which one class and one accent are rare, and the choice among them by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tenuto.errors import TrainingError
from tenuto.learning import remedies
from tenuto.learning.remedies import NONE, Rare, Trial
from tenuto.records import Interval
from tenuto.settings import Params
from tests.chirps import write_clips


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def clips(data: Path) -> pd.DataFrame:
    """Twelve training clips of each class but two of 'up'; every fourth one has a rare accent."""
    parts = [
        write_clips(data, {"down": 12, "flat": 12, "up": 2}, seed=0).assign(split="train"),
        write_clips(data, {"down": 3, "flat": 3, "up": 3}, seed=1).assign(split="validation"),
        write_clips(data, {"down": 8, "flat": 8, "up": 8}, seed=2).assign(split="test"),
    ]
    whole = pd.concat(parts, ignore_index=True)
    rare = np.where(whole["split"] == "train", np.arange(len(whole)) % 8 == 0, np.arange(len(whole)) % 2 == 0)
    return whole.drop(columns="group_site").assign(
        group_accent=np.where(rare, "rare", "usual"), family=whole["clip_id"]
    )


def test_the_rarest_class_and_the_rarest_shared_value_are_found(clips: pd.DataFrame) -> None:
    rare = remedies.find_rare(clips)
    assert rare == Rare(label="up", label_clips=2, group="accent", value="rare", value_clips=4)


def test_a_group_that_the_splits_do_not_share_is_no_reason_for_a_remedy(clips: pd.DataFrame) -> None:
    speakers = clips.assign(group_accent=clips["split"] + clips["group_accent"])
    assert remedies.find_rare(speakers).group is None
    assert remedies.find_rare(speakers).is_rare, "two clips of 'up' against twelve"
    even = speakers[(speakers["split"] != "train") | (speakers["label"] != "up")].reset_index(drop=True)
    assert not remedies.find_rare(even).is_rare
    assert not any("accent" in name for name in remedies.remedies(remedies.find_rare(speakers)))


def test_a_rare_class_without_test_clips_cannot_be_measured(clips: pd.DataFrame) -> None:
    with pytest.raises(TrainingError, match="'up', has no test clip"):
        remedies.find_rare(clips[(clips["split"] != "test") | (clips["label"] != "up")])


def test_every_remedy_is_tried_and_scored_on_all_test_clips(clips: pd.DataFrame, data: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    params = Params.model_validate({"name": "chirps", "augment": {"max_copies": 2, "pitch": 0, "stretch": 0}})
    found = remedies.compare(
        clips, data, params, None, tmp_path, seeds=2, on_progress=lambda done, total: told.append((done, total))
    )
    names = list(remedies.remedies(found.rare))
    assert [trial.remedy for trial in found.trials] == names
    assert told[-1] == (2 * len(names), 2 * len(names))
    assert found.test_clips == 24 and found.seeds == 2
    by_name = {trial.remedy: trial for trial in found.trials}
    assert by_name[NONE].macro_f1_gain is None
    for trial in found.trials[1:]:
        assert trial.macro_f1_gain is not None and trial.rare_recall_gain is not None
        lead = trial.rare_recall.value - by_name[NONE].rare_recall.value
        assert trial.rare_recall_gain.value == pytest.approx(lead)
        assert trial.rare_recall.n == 2 * 8, "both seeds' answers"
    assert found.use in names


def trial(name: str, f1: float, recall: tuple[float, float, float], group: tuple[float, float, float]) -> Trial:
    def interval(value: float, low: float, high: float) -> Interval:
        return Interval(value=value, low=low, high=high, n=10, groups=10)

    some = interval(0.5, 0.4, 0.6)
    return Trial(
        remedy=name,
        choices={},
        macro_f1=some,
        rare_recall=some,
        rare_precision=some,
        macro_f1_gain=interval(f1, f1 - 0.1, f1 + 0.1),
        rare_recall_gain=interval(*recall),
        group_recall_gain=interval(*group),
    )


def test_the_largest_shown_gain_without_loss_is_recommended() -> None:
    trials = [
        trial("costly", -0.01, (0.5, 0.4, 0.6), (0.1, 0.0, 0.2)),
        trial("unsure", 0.05, (0.6, -0.1, 0.9), (0.0, -0.1, 0.1)),
        trial("good", 0.0, (0.3, 0.1, 0.5), (0.1, -0.1, 0.2)),
        trial("better", 0.01, (0.3, 0.1, 0.5), (0.2, 0.1, 0.3)),
        trial("harms the group", 0.1, (0.9, 0.8, 1.0), (-0.3, -0.4, -0.2)),
    ]
    assert remedies.recommend(trials)[0] == "better"
    use, why = remedies.recommend(trials[:2])
    assert use == NONE and "no remedy is shown" in why


AUTO = Params.model_validate(
    {"name": "chirps", "augment": {"max_copies": 2, "pitch": 0, "stretch": 0}, "imbalance": {"remedy": "auto"}}
)


def test_the_choice_of_a_retrain_rests_on_validation_clips_alone(
    clips: pd.DataFrame, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = (NONE, "class weights")
    some = {name: choices for name, choices in remedies.remedies(remedies.find_rare(clips)).items() if name in names}
    monkeypatch.setattr(remedies, "remedies", lambda rare: some)
    monkeypatch.setattr(remedies, "MIN_CLIPS", 1)
    chosen = remedies.choose(clips, data, AUTO, None, tmp_path)
    assert chosen.use in names and set(chosen.figures) >= {NONE}
    assert remedies.choose(clips[clips["split"] != "test"], data, AUTO, None, tmp_path) == chosen
    assert AUTO.with_remedy(chosen.choices).augment.fill == 0
    assert f"chosen on the validation clips: {chosen.use} (" in chosen.sentence


def test_too_few_validation_clips_and_classes_that_are_even_choose_nothing(
    clips: pd.DataFrame, data: Path, tmp_path: Path
) -> None:
    few = remedies.choose(clips, data, AUTO, None, tmp_path)
    said = (
        "3 validation clips of class 'up' are too few to tell (wanted 5); augment.fill and imbalance stand as they are"
    )
    assert (few.use, few.why) == (NONE, said)
    even = clips[(clips["split"] != "train") | (clips["label"] != "up")].drop(columns="group_accent")
    assert remedies.choose(even, data, AUTO, None, tmp_path).why.startswith("no class and no group is rare")
    assert AUTO.with_remedy(few.choices) == AUTO


def test_a_remedy_that_other_settings_forbid_is_not_tried(clips: pd.DataFrame) -> None:
    smooth = AUTO.model_copy(update={"finetune": AUTO.finetune.model_copy(update={"label_smoothing": 0.1})})
    rare = remedies.find_rare(clips)
    refused = [name for name, choices in remedies.remedies(rare).items() if not remedies.fits(smooth, choices)]
    assert refused == ["focal loss", "LDAM"]


def test_thresholds_are_for_who_asks_the_test_clips(clips: pd.DataFrame, data: Path, tmp_path: Path) -> None:
    """They are fitted on the validation clips, which would say too much good of them."""
    rare = remedies.find_rare(clips)
    some = {name: remedies.remedies(rare)[name] for name in (NONE, "per-class thresholds")}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(remedies, "remedies", lambda rare: some)
        asked = {
            split: remedies.compare(clips, data, AUTO, None, tmp_path, asked=split, seeds=1)
            for split in ("test", "validation")
        }
    assert [trial.remedy for trial in asked["test"].trials] == list(some)
    assert [trial.remedy for trial in asked["validation"].trials] == [NONE]
    assert asked["validation"].test_clips == 9
    assert AUTO.with_remedy(some["per-class thresholds"]).calibrate.thresholds
