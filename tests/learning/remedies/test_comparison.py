"""Remedies tried on chirps, and the one to use by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tenuto.learning.remedies import comparison, known
from tenuto.learning.remedies.comparison import Trial
from tenuto.learning.remedies.known import NONE, remedies
from tenuto.learning.remedies.rare import find_rare
from tenuto.records import Interval
from tenuto.settings import Params
from tests.learning.remedies.conftest import AUTO

PARAMS = Params.model_validate({"name": "chirps", "augment": {"max_copies": 1, "pitch": 0, "stretch": 0}})


def test_every_remedy_is_tried_on_all_test_clips(clips: pd.DataFrame, data: Path, cache: Path) -> None:
    found = comparison.compare(clips, data, PARAMS, None, cache, seeds=1)
    names = list(remedies(found.rare))
    assert [trial.remedy for trial in found.trials] == names
    assert found.test_clips == 24 and found.split == "test" and found.use in names


def test_a_gain_is_the_lead_over_nothing_in_what_all_seeds_answer(
    clips: pd.DataFrame, data: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = {name: remedies(find_rare(clips))[name] for name in (NONE, "class weights", "balanced classes")}
    monkeypatch.setattr(known, "remedies", lambda rare: some)
    told: list[tuple[int, int]] = []
    found = comparison.compare(
        clips, data, PARAMS, None, cache, seeds=2, on_progress=lambda done, total: told.append((done, total))
    )
    assert told[-1] == (6, 6) and found.seeds == 2
    by_name = {trial.remedy: trial for trial in found.trials}
    assert by_name[NONE].macro_f1_gain is None
    for trial in found.trials[1:]:
        assert trial.macro_f1_gain is not None and trial.rare_recall_gain is not None
        lead = trial.rare_recall.value - by_name[NONE].rare_recall.value
        assert trial.rare_recall_gain.value == pytest.approx(lead)
        assert trial.rare_recall.n == 2 * 8, "both seeds' answers"


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
    assert comparison.recommend(trials)[0] == "better"
    use, why = comparison.recommend(trials[:2])
    assert use == NONE and "no remedy is shown" in why


def test_thresholds_are_for_who_asks_the_test_clips(clips: pd.DataFrame, data: Path, cache: Path) -> None:
    """They are fitted on the validation clips, which would say too much good of them."""
    rare = find_rare(clips)
    some = {name: remedies(rare)[name] for name in (NONE, "per-class thresholds")}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(known, "remedies", lambda rare: some)
        asked = {
            split: comparison.compare(clips, data, AUTO, None, cache, asked=split, seeds=1)
            for split in ("test", "validation")
        }
    assert [trial.remedy for trial in asked["test"].trials] == list(some)
    assert [trial.remedy for trial in asked["validation"].trials] == [NONE]
    assert asked["validation"].test_clips == 9
    assert AUTO.with_remedy(some["per-class thresholds"]).calibrate.thresholds
