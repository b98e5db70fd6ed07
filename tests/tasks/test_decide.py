"""What Prefect shows of a decision."""

from __future__ import annotations

from tasks import decide
from tenuto.records import Account, RuleResult, Verdict

BETTER = RuleResult(
    rule="better",
    outcome="inconclusive",
    severity="reject",
    reason="difference +0.010, not shown to be better.",
    observed=0.0101234,
    low=-0.01,
    high=0.03,
    threshold=0.0,
    p_value=0.31,
)
MISSING = RuleResult(rule="site", outcome="not evaluated", severity="hold", reason="no group 'site'.")


def test_a_rule_is_a_row_of_its_figures() -> None:
    assert decide.row(BETTER) == {
        "rule": "better",
        "outcome": "inconclusive",
        "severity": "reject",
        "measured": 0.01012,
        "interval": "-0.010 to 0.030",
        "wanted": 0.0,
        "p": 0.31,
        "reason": "difference +0.010, not shown to be better.",
    }
    figures = ("measured", "interval", "wanted", "p")
    assert [decide.row(MISSING)[figure] for figure in figures] == [None] * 4


def test_the_summary_has_the_reasons_and_what_is_left() -> None:
    verdict = Verdict(verdict="inconclusive", reasons=("better: no.", "floor: yes."), rules=())
    assert decide.summary(verdict) == "# inconclusive\n\n- better: no.\n- floor: yes.\n"
    account = Account(holdout="1", alpha=0.05, decisions=52, used=50, level=0.001, left=0.04)
    text = decide.summary(verdict.model_copy(update={"account": account, "p_value": 0.31}))
    assert text.endswith(
        "**1 of 52 decisions left on test set 1.** This decision was taken at p 0.31 and missed its level 0.0010. "
        "`tenuto holdout rotate` brings in fresh clips before these are used up.\n"
    )
