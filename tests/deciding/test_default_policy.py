"""Verdicts of imagined evaluations under the policy that new workspaces get."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tenuto.deciding.gate import judge, load_policy
from tenuto.typed_yaml import digest
from tests.answers import clips_table, imagined
from tests.deciding.test_policy import TEMPLATE

DEFAULT = load_policy(TEMPLATE)


def test_a_first_good_model_of_two_held_out_speakers_is_promoted(tmp_path: Path) -> None:
    clips = clips_table(1000, speaker=2)
    verdict = judge(DEFAULT, imagined(clips, tmp_path, {"candidate": 0.04, "baseline": 0.2, "majority": 0.9}))
    assert verdict.verdict == "promote"
    assert [r.outcome for r in verdict.rules] == ["pass", "pass", *["not applicable"] * 3, "pass", "pass"]
    assert verdict.policy_sha256 == digest(DEFAULT)


def test_a_candidate_spoilt_by_wrong_labels_is_refused(tmp_path: Path) -> None:
    clips = clips_table(600, speaker=12)
    verdict = judge(DEFAULT, imagined(clips, tmp_path, {"candidate": 0.09, "baseline": 0.3, "champion": 0.03}))
    assert verdict.verdict == "reject"
    assert verdict.reasons[0].startswith("not worse than the champion: macro-F1 0.9")
    assert verdict.reasons[0].endswith("resampled by 12 speakers), worse.")


def test_a_candidate_as_good_as_the_champion_becomes_a_challenger(tmp_path: Path) -> None:
    clips = clips_table(1000, speaker=10)
    verdict = judge(DEFAULT, imagined(clips, tmp_path, {"candidate": 0.04, "baseline": 0.3, "champion": 0.041}))
    assert verdict.verdict == "register"
    assert verdict.reasons[0].startswith("better than the champion: macro-F1 0.960 against 0.959 of the champion")
    assert "not shown to be better" in verdict.reasons[0]


def test_a_better_candidate_takes_the_champions_place(tmp_path: Path) -> None:
    clips = clips_table(1000, speaker=10)
    verdict = judge(DEFAULT, imagined(clips, tmp_path, {"candidate": 0.04, "baseline": 0.3, "champion": 0.1}))
    assert verdict.verdict == "promote"
    assert verdict.p_value is not None and verdict.p_value < 0.001


def test_a_leap_sounds_the_alarm(tmp_path: Path) -> None:
    clips = clips_table(1000, speaker=10)
    verdict = judge(DEFAULT, imagined(clips, tmp_path, {"candidate": 0.04, "baseline": 0.3, "champion": 0.5}))
    assert verdict.verdict == "reject"
    assert verdict.reasons[0].startswith("no suspicious leap: ")
    assert "look for test clips among the training clips" in verdict.reasons[0]


def test_on_few_clips_it_stays_open_whether_the_champion_is_better(tmp_path: Path) -> None:
    clips = clips_table(100, speaker=10)
    verdict = judge(DEFAULT, imagined(clips, tmp_path, {"candidate": 0.06, "baseline": 0.5, "champion": 0.05}))
    assert verdict.verdict == "inconclusive"
    assert "leaves open whether it is worse by more than 0.02; about " in verdict.reasons[0]


def test_no_better_than_from_scratch_makes_a_challenger(tmp_path: Path) -> None:
    clips = clips_table(1000, speaker=10)
    verdict = judge(DEFAULT, imagined(clips, tmp_path, {"candidate": 0.05, "baseline": 0.05}))
    assert verdict.verdict == "register"
    assert "not shown to be better" in verdict.reasons[0]


def test_a_first_model_of_a_tiny_dataset_is_registered(tmp_path: Path) -> None:
    clips = clips_table(8, labels=2, speaker=2)
    verdict = judge(DEFAULT, imagined(clips, tmp_path, {"candidate": 0.0, "baseline": 0.4}))
    assert verdict.verdict == "register"
    assert "class 'c0' (4), class 'c1' (4); the rule wants 10" in verdict.reasons[0]
    doubtful = judge(DEFAULT, imagined(clips, tmp_path, {"candidate": 0.3, "baseline": 0.4}))
    assert doubtful.verdict == "register"
    assert "may lie on either side of the floor 0.60" in " ".join(doubtful.reasons)


def test_a_useless_model_is_refused_even_without_a_champion(tmp_path: Path) -> None:
    clips = clips_table(200, speaker=10)
    assert judge(DEFAULT, imagined(clips, tmp_path, {"candidate": 0.7, "baseline": 0.8})).verdict == "reject"


@pytest.mark.parametrize("left_behind", ["group_accent", "label"])
def test_a_class_or_group_left_behind_makes_a_challenger(tmp_path: Path, left_behind: str) -> None:
    clips = clips_table(1000, speaker=10, accent=10)
    missed = clips[left_behind].isin(["a3", "c3"]).to_numpy() & (np.arange(1000) % 50 > 0)
    verdict = judge(DEFAULT, imagined(clips, tmp_path, {"candidate": missed, "baseline": 0.6}))
    assert verdict.verdict == "register"
    assert ("accent 'a3' (100 clips)" if left_behind == "group_accent" else "class 'c3' (100 clips)") in str(verdict)


def test_without_groups_group_rules_do_not_apply(tmp_path: Path) -> None:
    verdict = judge(DEFAULT, imagined(clips_table(1000), tmp_path, {"candidate": 0.04, "baseline": 0.2}, None))
    assert verdict.verdict == "promote"
    assert verdict.rules[-1].outcome == "not applicable"
    assert "resampled by clip)" in verdict.rules[0].reason


def test_every_group_column_has_its_line(tmp_path: Path) -> None:
    clips = clips_table(1000, speaker=10, accent=3)
    verdict = judge(DEFAULT, imagined(clips, tmp_path, {"candidate": 0.04, "baseline": 0.2}))
    assert [r.rule for r in verdict.rules[-2:]] == ["every group is served (speaker)", "every group is served (accent)"]


@pytest.mark.parametrize("speakers", [5, 6, 8, 12])
def test_a_perfect_first_model_passes_the_floors_of_a_new_workspace(tmp_path: Path, speakers: int) -> None:
    clips = clips_table(speakers * 40, speaker=speakers)
    assert judge(DEFAULT, imagined(clips, tmp_path, {"candidate": 0.0, "baseline": 0.3})).verdict == "promote"
