"""Rules that are alternatives: any one shows the claim, by evidence corrected for how many there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tenuto.deciding.gate import Policy, Rule, judge
from tenuto.records import Account, Verdict
from tests.answers import clips_table, imagined


def claimed(tmp_path: Path, wrong: float, *rules: dict[str, Any], level: float | None = None) -> Verdict:
    """The verdict about a candidate wrong on that share of 400 clips, the champion on 0.2 of them."""
    given = {"claim": "it is better", "metric": "accuracy", "severity": "reject"}
    policy = Policy(rules=tuple(Rule(**{**given, "name": f"rule {i}", **r}) for i, r in enumerate(rules)))
    found = imagined(clips_table(400, speaker=20), tmp_path, {"candidate": wrong, "champion": 0.2})
    account = Account(holdout="1", alpha=0.05, decisions=52, used=0, level=level, left=1) if level is not None else None
    return judge(policy, found, account)


LEAD = {"versus": "champion", "better_by": 0.0}
F1_LEAD = {**LEAD, "metric": "macro_f1"}
LARGE_LEAD = {**LEAD, "better_by": 0.15}


def test_one_alternative_is_enough_and_the_claim_has_one_line(tmp_path: Path) -> None:
    verdict = claimed(tmp_path, 0.1, LARGE_LEAD, LEAD)
    assert verdict.verdict == "promote"
    (result,) = verdict.rules
    assert (result.rule, result.outcome) == ("it is better", "pass")
    assert result.reason.startswith("shown by 'rule 1' (p = ") and "correction over 2 alternatives" in result.reason


def test_the_evidence_is_corrected_for_the_number_of_alternatives(tmp_path: Path) -> None:
    alone = judge(
        Policy(rules=(Rule(name="r", metric="accuracy", severity="hold", versus="champion", better_by=0.0),)),
        imagined(clips_table(400, speaker=20), tmp_path, {"candidate": 0.175, "champion": 0.2}),
    )
    assert alone.p_value is not None
    together = claimed(tmp_path, 0.175, LEAD, LARGE_LEAD)
    assert together.p_value == pytest.approx(2 * alone.p_value)
    between = 1.5 * alone.p_value
    assert claimed(tmp_path, 0.175, LEAD, LARGE_LEAD, level=between).verdict == "inconclusive"
    assert claimed(tmp_path, 0.175, LEAD, LARGE_LEAD, level=3 * alone.p_value).verdict == "promote"


def test_a_claim_fails_only_by_all_of_its_rules(tmp_path: Path) -> None:
    assert claimed(tmp_path, 0.3, LEAD, F1_LEAD).verdict == "reject"
    verdict = claimed(tmp_path, 0.2, LEAD, LARGE_LEAD)
    (result,) = verdict.rules
    assert result.outcome == "inconclusive"
    assert result.reason.startswith("not shown (p = 1 after") and "'rule 0'" in result.reason


def test_other_rules_keep_their_place(tmp_path: Path) -> None:
    floor = {"claim": None, "at_least": 0.5}
    verdict = claimed(tmp_path, 0.1, floor, LEAD, {**floor, "at_least": 0.6}, LARGE_LEAD)
    assert [r.rule for r in verdict.rules] == ["rule 0", "it is better", "rule 2"]


def test_a_claim_without_a_champion_does_not_apply(tmp_path: Path) -> None:
    leads = (("a", 0.0), ("b", 0.1))
    rules = (
        Rule(name="floor", metric="accuracy", severity="hold", at_least=0.1),
        *(
            Rule(name=name, claim="c", metric="accuracy", severity="hold", versus="champion", better_by=by)
            for name, by in leads
        ),
    )
    verdict = judge(Policy(rules=rules), imagined(clips_table(100, speaker=10), tmp_path, {"candidate": 0.1}))
    assert verdict.verdict == "promote" and verdict.rules[1].outcome == "not applicable"


def test_what_could_not_be_judged_keeps_a_claim_open(tmp_path: Path) -> None:
    few = {"at_least": 0.99, "of": "speaker=s1", "min_clips": 30}
    verdict = claimed(tmp_path, 0.3, {"at_least": 0.99}, few)
    assert verdict.rules[0].outcome == "insufficient n"
    assert "s1" not in verdict.rules[0].plain


def test_two_alternatives_are_no_easier_than_one() -> None:
    """Of simulated claims that are all untrue, with two independent rules each, 2.5 % are shown."""
    from tenuto.scoring.statistics import holm, p_greater

    p = p_greater(np.random.default_rng(4).normal(size=(4000, 2, 30)), np.ones(30))
    shown = np.mean([min(holm(list(pair))) <= 0.025 for pair in p])
    assert shown == pytest.approx(0.025, abs=0.008)
    assert np.mean(p.min(axis=1) <= 0.025) > 0.04  # what it would be without the correction
