"""Verdicts of imagined evaluations, under the policy that new workspaces get and under policies of one rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tenuto.gate import Policy, Rule, decide, judge, load_policy
from tenuto.records import RuleResult, Verdict
from tenuto.settings import digest
from tests.answers import clips_table, imagined
from tests.test_policy import TEMPLATE

DEFAULT = load_policy(TEMPLATE)


def one_rule(**fields: Any) -> Policy:
    given = {"name": "rule", "metric": "macro_f1", "severity": "reject", **fields}
    return Policy(rules=(Rule(**given),), resamples=400)


def only(verdict: Verdict) -> RuleResult:
    (result,) = verdict.rules
    return result


# The policy of a new workspace


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


# One rule


@pytest.mark.parametrize(
    ("fields", "wrong", "outcome", "words"),
    [
        ({"at_least": 0.8}, 0.1, "pass", "is above the floor 0.80"),
        ({"at_least": 0.9}, 0.1, "inconclusive", "may lie on either side of the floor 0.90"),
        ({"at_least": 0.975}, 0.1, "fail", "is below the floor 0.975"),
        ({"versus": "champion", "better_by": 0.0}, 0.05, "pass", "), better."),
        ({"versus": "champion", "better_by": 0.05}, 0.15, "inconclusive", "not shown to be better by more than 0.05"),
        ({"versus": "champion", "better_by": 0.0}, 0.5, "fail", "), not better."),
        ({"versus": "champion", "not_worse_by": 0.1}, 0.205, "pass", "not worse by more than 0.10"),
        ({"versus": "champion", "not_worse_by": 0.01}, 0.205, "inconclusive", "leaves open"),
        ({"versus": "champion", "not_worse_by": 0.3}, 0.4, "fail", "), worse."),
        ({"versus": "majority", "better_by": 0.3}, 0.1, "pass", "of the majority class: difference +0."),
    ],
)
def test_outcomes(tmp_path: Path, fields: dict[str, Any], wrong: float, outcome: str, words: str) -> None:
    models = {"candidate": wrong, "champion": 0.2, "majority": 0.9}
    result = only(judge(one_rule(**fields), imagined(clips_table(400, speaker=10), tmp_path, models)))
    assert result.outcome == outcome
    assert words in result.reason
    assert result.low <= result.observed <= result.high  # type: ignore[operator]


def test_the_sentence_holds_the_figures_of_the_result(tmp_path: Path) -> None:
    found = imagined(clips_table(400, speaker=10), tmp_path, {"candidate": 0.1})
    verdict = judge(one_rule(at_least=0.6, metric="accuracy"), found)
    result = only(verdict)
    assert result.observed == pytest.approx(0.9) and result.threshold == 0.6
    figures = f"accuracy 0.900 (95 % {result.low:.3f}-{result.high:.3f}, resampled by 10 speakers)"
    assert verdict.reasons == (f"rule: {figures} is above the floor 0.60.",)


def test_without_rules_nothing_is_evaluated(tmp_path: Path) -> None:
    verdict = judge(Policy(), imagined(clips_table(20), tmp_path, {"candidate": 0.0}, None))
    assert (verdict.verdict, verdict.rules) == ("not evaluated", ())
    assert verdict.reasons == ("The promotion policy has no rules: nothing was judged.",)


def test_rules_that_do_not_apply_are_no_verdict(tmp_path: Path) -> None:
    verdict = judge(
        one_rule(versus="champion", better_by=0), imagined(clips_table(20), tmp_path, {"candidate": 0}, None)
    )
    assert verdict.verdict == "not evaluated"
    assert verdict.reasons == ("rule: there is no champion yet.",)


def test_a_missing_baseline_is_never_a_pass(tmp_path: Path) -> None:
    result = only(
        judge(one_rule(versus="baseline", better_by=0), imagined(clips_table(20), tmp_path, {"candidate": 0}, None))
    )
    assert result.outcome == "not evaluated" and "no answers of the baseline" in result.reason


def test_a_champion_that_cannot_be_compared_is_never_a_pass(tmp_path: Path) -> None:
    found = imagined(clips_table(20), tmp_path, {"candidate": 0}, None)
    found = found.model_copy(update={"unscored": {"champion": "the champion was trained on all 20 test clips"}})
    verdict = judge(one_rule(versus="champion", not_worse_by=0.02), found)
    assert verdict.verdict == "not evaluated"
    assert verdict.reasons == ("rule: the champion was trained on all 20 test clips.",)


def test_clips_left_out_are_mentioned(tmp_path: Path) -> None:
    found = imagined(clips_table(100), tmp_path, {"candidate": 0, "champion": 0.5}, None)
    found = found.model_copy(update={"left_out": ("a", "b")})
    result = only(judge(one_rule(versus="champion", better_by=0), found))
    assert result.reason.endswith("better; left out for all models: 2 clips that the champion trained on.")


def test_the_same_evaluation_is_judged_the_same_again(tmp_path: Path) -> None:
    found = imagined(clips_table(300, speaker=6), tmp_path, {"candidate": 0.1, "baseline": 0.2, "champion": 0.1})
    assert judge(DEFAULT, found) == judge(DEFAULT, found)


def test_one_worst_class_fails_the_rule_for_all(tmp_path: Path) -> None:
    clips = clips_table(400, speaker=10)
    missed = (clips["label"] == "c7").to_numpy()
    found = imagined(clips, tmp_path, {"candidate": missed})
    result = only(judge(one_rule(metric="recall", of="worst class", at_least=0.5), found))
    assert (result.outcome, result.observed) == ("fail", 0.0)
    assert result.reason.startswith("worst of 10, class 'c7' (40 clips): recall 0.000 (95 % 0.000-")


def test_precision_of_a_class_counts_all_clips_called_so(tmp_path: Path) -> None:
    clips = clips_table(400, speaker=10)
    missed = (clips["label"] == "c7").to_numpy()  # all called c8
    found = imagined(clips, tmp_path, {"candidate": missed})
    result = only(judge(one_rule(metric="precision", of="class=c8", at_least=0.4), found))
    assert result.observed == pytest.approx(0.5)
    assert "class 'c8' (40 clips): precision 0.500" in result.reason


def test_a_failed_class_outweighs_one_with_too_few_clips(tmp_path: Path) -> None:
    clips = clips_table(201, labels=2)
    clips.loc[200, "label"] = "c2"
    rule = one_rule(metric="recall", of="worst class", at_least=0.5, min_clips=20)
    assert only(judge(rule, imagined(clips, tmp_path, {"candidate": 0.0}, None))).outcome == "insufficient n"
    missed = (clips["label"] == "c0").to_numpy()
    result = only(judge(rule, imagined(clips, tmp_path, {"candidate": missed}, None)))
    assert result.outcome == "fail"
    assert result.reason.endswith("not judged, for want of 20 clips: class 'c2' (1).")


# From outcomes to the verdict

PASS, FAIL, OPEN, NONE, SKIP = "pass", "fail", "inconclusive", "not evaluated", "not applicable"


@pytest.mark.parametrize(
    ("rejecting", "holding", "verdict"),
    [
        ([PASS], [PASS], "promote"),
        ([PASS, SKIP], [SKIP], "promote"),
        ([], [PASS], "promote"),
        ([PASS], [FAIL], "register"),
        ([PASS], [OPEN], "register"),
        ([PASS], [NONE], "register"),
        ([SKIP], [NONE], "register"),
        ([FAIL, OPEN, NONE], [FAIL], "reject"),
        ([OPEN, PASS], [FAIL], "inconclusive"),
        ([OPEN, NONE], [PASS], "not evaluated"),
        ([SKIP], [SKIP], "not evaluated"),
        ([], [], "not evaluated"),
    ],
)
def test_decisions(rejecting: list[Any], holding: list[Any], verdict: str) -> None:
    results = [RuleResult(rule="r", outcome=o, severity="reject", reason="") for o in rejecting]
    results += [RuleResult(rule="h", outcome=o, severity="hold", reason="") for o in holding]
    assert decide(results) == verdict


@pytest.mark.parametrize(("undecided", "severity"), [("hold", "hold"), ("inconclusive", "reject")])
def test_an_open_question_may_weigh_less_than_a_failure(tmp_path: Path, undecided: str, severity: str) -> None:
    found = imagined(clips_table(40), tmp_path, {"candidate": 0.1}, None)
    straddled = only(judge(one_rule(at_least=0.9, undecided=undecided), found))
    assert (straddled.outcome, straddled.severity) == (OPEN, severity)
    failed = only(judge(one_rule(at_least=1.0, undecided=undecided), found))
    assert (failed.outcome, failed.severity) == (FAIL, "reject")
