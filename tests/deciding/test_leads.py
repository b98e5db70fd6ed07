"""Leads over the champion, and what the test set still allows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tenuto.deciding.gate import judge, load_policy
from tenuto.deciding.judging import Bench
from tenuto.records import Account, Evaluation
from tenuto.scoring.tallies import Answers
from tests.answers import clips_table, imagined
from tests.deciding.test_gate import one_rule, only
from tests.deciding.test_policy import TEMPLATE

DEFAULT = load_policy(TEMPLATE)


def account(level: float) -> Account:
    return Account(holdout="1", alpha=0.05, decisions=52, used=3, level=level, left=0.9)


def test_a_lead_must_reach_the_level_that_the_test_set_allows(tmp_path: Path) -> None:
    found = imagined(clips_table(400, speaker=20), tmp_path, {"candidate": 0.17, "champion": 0.2})
    policy = one_rule(metric="accuracy", versus="champion", better_by=0.0, severity="hold")
    free = judge(policy, found)
    assert free.verdict == "promote" and free.account is None
    assert free.p_value == only(free).p_value and 0.0001 < free.p_value < 0.01  # type: ignore[operator]
    strict = judge(policy, found, account(0.0001))
    assert (strict.verdict, only(strict).outcome) == ("register", "inconclusive")
    assert strict.account == account(0.0001) and strict.p_value == free.p_value
    assert "and this test set allows 0.0001 after 3 of its 52 decisions; about " in only(strict).reason


def test_a_worn_out_test_set_shows_no_lead(tmp_path: Path) -> None:
    found = imagined(clips_table(400, speaker=20), tmp_path, {"candidate": 0.0, "champion": 0.5})
    verdict = judge(one_rule(versus="champion", better_by=0.0), found, account(0.0))
    assert verdict.verdict == "inconclusive"
    assert "worn out: `tenuto holdout rotate` brings in a fresh one" in only(verdict).reason
    assert "more clips" not in only(verdict).reason


def test_the_account_concerns_leads_over_the_champion_alone(tmp_path: Path) -> None:
    found = imagined(clips_table(400, speaker=20), tmp_path, {"candidate": 0.1, "baseline": 0.5, "champion": 0.1})
    rules = [{"versus": "baseline", "better_by": 0.0}, {"at_least": 0.5}, {"versus": "champion", "not_worse_by": 0.05}]
    for fields in rules:
        verdict = judge(one_rule(**fields), found, account(0.0))
        assert (verdict.verdict, verdict.p_value) == ("promote", None)


def test_four_clips_are_no_proof(tmp_path: Path) -> None:
    """The t-test alone would say 2 %; four wins out of four come up by luck once in sixteen times."""
    clips = clips_table(1000, speaker=50)
    worse = np.zeros(1000, dtype=bool)
    worse[[0, 10, 20, 30]] = True
    result = only(
        judge(
            one_rule(metric="accuracy", versus="champion", better_by=0.0),
            imagined(clips, tmp_path, {"candidate": np.zeros(1000, dtype=bool), "champion": worse}),
        )
    )
    assert result.p_value == pytest.approx(1 / 16)
    assert result.outcome == "inconclusive"


def five_wins(tmp_path: Path) -> Evaluation:
    """Five speakers of ten clips each; the champion misses one of each, the candidate none."""
    clips = clips_table(50, labels=2, speaker=5)
    worse = (~clips["group_speaker"].duplicated()).to_numpy()
    return imagined(clips, tmp_path, {"candidate": np.zeros(50, dtype=bool), "champion": worse})


@pytest.mark.parametrize("margin", [{"better_by": 0.0}, {"better_by": 0.01}, {"better_by_percent": 1}])
@pytest.mark.parametrize("level", [None, 0.01, 0.0])
def test_five_wins_without_any_spread_are_no_proof_either(
    tmp_path: Path, margin: dict[str, float], level: float | None
) -> None:
    policy = one_rule(metric="accuracy", versus="champion", severity="hold", **margin)
    verdict = judge(policy, five_wins(tmp_path), account(level) if level is not None else None)
    assert (verdict.verdict, only(verdict).outcome) == ("register", "inconclusive")
    assert verdict.p_value == pytest.approx(1 / 32)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "brier"])
@pytest.mark.parametrize("margin", [{"better_by": 0.0}, {"better_by": 0.01}, {"better_by_percent": 1}])
def test_at_level_zero_no_evidence_is_enough(tmp_path: Path, metric: str, margin: dict[str, float]) -> None:
    found = imagined(clips_table(4000, speaker=50), tmp_path, {"candidate": 0.0, "champion": 0.5})
    verdict = judge(one_rule(metric=metric, versus="champion", severity="hold", **margin), found, account(0.0))
    assert verdict.verdict == "register"
    assert verdict.p_value is not None and verdict.p_value > 0


def test_at_level_zero_not_even_a_p_value_of_zero_shows_anything(tmp_path: Path) -> None:
    found = imagined(clips_table(20), tmp_path, {"candidate": 0.0}, None)
    policy = one_rule(versus="champion", better_by=0.0)
    answers = Answers((), np.array([]), {}, np.array([]))
    assert not Bench(policy, found, answers, account(0.0)).shows(policy.rules[0], 0.0)
    assert Bench(policy, found, answers, account(0.01)).shows(policy.rules[0], 0.01)


@pytest.mark.parametrize("speakers", [1, 2, 4])
def test_few_speakers_cannot_speak_for_others(tmp_path: Path, speakers: int) -> None:
    clips = clips_table(1000, speaker=speakers)
    verdict = judge(DEFAULT, imagined(clips, tmp_path, {"candidate": 0.04, "baseline": 0.3, "champion": 0.1}))
    assert (verdict.verdict, verdict.p_value) == ("register", None)
    result = next(r for r in verdict.rules if r.rule == "better than the champion")
    assert (result.outcome, result.p_value, result.observed) == ("insufficient n", None, None)
    assert "Record more speakers, or decide by hand with `tenuto promote`." in result.reason
    assert [r.outcome for r in verdict.rules].count("pass") == 6
    worse = judge(DEFAULT, imagined(clips, tmp_path, {"candidate": 0.1, "baseline": 0.3, "champion": 0.04}))
    assert worse.verdict == "reject"


def test_five_speakers_and_clips_without_speakers_may_show_a_lead(tmp_path: Path) -> None:
    for clips, group in ((clips_table(1000, speaker=5), "speaker"), (clips_table(1000), None)):
        found = imagined(clips, tmp_path, {"candidate": 0.04, "baseline": 0.3, "champion": 0.12}, group)
        assert judge(DEFAULT, found).verdict == "promote"


def test_a_promotion_that_drew_nothing_from_the_account_says_so_last(tmp_path: Path) -> None:
    found = imagined(clips_table(400, speaker=20), tmp_path, {"candidate": 0.1, "champion": 0.2})
    verdict = judge(one_rule(versus="champion", not_worse_by=0.05), found)
    assert verdict.verdict == "promote"
    assert verdict.reasons[-1].startswith(
        "No rule claims that the candidate is better than the champion, so nothing was"
    )
    assert "nothing was drawn" not in str(judge(one_rule(versus="champion", better_by=0.0), found).reasons)
    assert "nothing was drawn" not in str(judge(one_rule(versus="champion", not_worse_by=0.05), found).reasons[:-1])
    first = imagined(clips_table(400, speaker=20), tmp_path, {"candidate": 0.1})
    assert "nothing was drawn" not in str(judge(one_rule(at_least=0.5), first).reasons)
