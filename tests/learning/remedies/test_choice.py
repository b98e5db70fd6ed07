"""The remedy that a retrain chooses by itself."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tenuto.learning.remedies import choice, comparison, known, rare
from tenuto.learning.remedies.known import NONE, remedies
from tenuto.learning.remedies.rare import find_rare
from tests.learning.remedies.conftest import AUTO


def test_the_choice_of_a_retrain_rests_on_validation_clips_alone(
    clips: pd.DataFrame, data: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = (NONE, "class weights")
    monkeypatch.setattr(comparison, "recommend", lambda trials: ("class weights", "it helps"))
    some = {name: choices for name, choices in remedies(find_rare(clips)).items() if name in names}
    monkeypatch.setattr(known, "remedies", lambda rare: some)
    monkeypatch.setattr(rare, "MIN_CLIPS", 1)
    chosen = choice.choose(clips, data, AUTO, None, cache)
    assert set(chosen.figures) == set(names)
    assert choice.choose(clips[clips["split"] != "test"], data, AUTO, None, cache) == chosen
    assert AUTO.with_remedy(chosen.choices).augment.fill == 0
    assert f"chosen on the validation clips: {chosen.use} (" in chosen.sentence


def test_too_few_validation_clips_and_classes_that_are_even_choose_nothing(
    clips: pd.DataFrame, data: Path, cache: Path
) -> None:
    few = choice.choose(clips, data, AUTO, None, cache)
    said = (
        "3 validation clips of class 'up' are too few to tell (wanted 5); augment.fill and imbalance stand as they are"
    )
    assert (few.use, few.why) == (NONE, said)
    even = clips[(clips["split"] != "train") | (clips["label"] != "up")].drop(columns="group_accent")
    assert choice.choose(even, data, AUTO, None, cache).why.startswith("no class and no group is rare")
    assert AUTO.with_remedy(few.choices) == AUTO


def test_where_no_remedy_is_shown_to_help_the_settings_stand_as_they_are(
    clips: pd.DataFrame, data: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rare, "MIN_CLIPS", 1)
    few = {name: choices for name, choices in remedies(find_rare(clips)).items() if name == NONE}
    monkeypatch.setattr(known, "remedies", lambda rare: few)
    chosen = choice.choose(clips, data, AUTO, None, cache)
    assert chosen.use == NONE
    assert chosen.why.endswith("macro-F1 that is not lower; augment.fill and imbalance stand as they are")
    assert AUTO.with_remedy(chosen.choices) == AUTO
