from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from benchmarks import wear as simulation
from tenuto.deciding import wear
from tenuto.deciding.policy import WearSettings
from tenuto.records import Account, RuleResult, Verdict
from tenuto.scoring import statistics
from tenuto.scoring.statistics import Answers
from tenuto.tracing import ledger

YEAR = WearSettings(alpha=0.05, decisions=52)


def entries(*uses: ledger.Use | None) -> list[ledger.Entry]:
    chain: list[ledger.Entry] = []
    for use in uses:
        decision = ledger.Decision(
            at=datetime(2026, 3, 2, tzinfo=UTC), actor="retrain", event="decision", model="m", use=use
        )
        chain.append(ledger.chained(decision, chain[-1] if chain else None))
    return chain


def use(p_value: float, level: float = 0.001, is_promotion: bool = False, holdout: str = "1") -> ledger.Use:
    return ledger.Use(holdout=holdout, level=level, p_value=p_value, is_promotion=is_promotion)


def test_a_fresh_account_is_all_there_and_its_level_is_nearly_bonferronis():
    fresh = wear.account([], YEAR, "1")
    # 0.8 * 0.05 / (1 + 0.8 * 51) = 0.04 / 41.8
    assert fresh.level == pytest.approx(0.04 / 41.8)
    assert (fresh.used, fresh.left, fresh.decisions, fresh.alpha) == (0, 1.0, 52, 0.05)


def test_an_undecided_decision_costs_its_level_over_tau():
    after = wear.account(entries(use(0.3, level=0.004)), YEAR, "1")
    assert after.left == pytest.approx((0.05 - 0.005) / 0.05)
    # 0.8 * 0.045 / (1 + 0.8 * 50)
    assert after.level == pytest.approx(0.036 / 41)


@pytest.mark.parametrize("free", [use(0.81), use(0.0001, is_promotion=True)], ids=["trails", "promoted"])
def test_what_trails_or_is_promoted_costs_nothing_and_makes_the_next_level_less_strict(free):
    after = wear.account(entries(free), YEAR, "1")
    assert after.left == 1
    assert after.used == 1
    assert after.level == pytest.approx(0.04 / 41)


def test_a_small_p_value_that_promoted_nothing_is_charged():
    # the p-value passed and the interval did not: the claim was not taken as shown
    assert wear.account(entries(use(0.0001, level=0.004)), YEAR, "1").left == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("outcomes", "level", "is_promotion"),
    [
        (("pass",), 0.001, True),
        (("pass", "pass"), 0.001, True),
        (("inconclusive",), 0.001, False),
        (("pass", "fail"), 0.001, False),
        (("pass",), 0.0, False),
    ],
)
def test_a_promotion_is_a_claim_that_every_rule_took_as_shown(outcomes, level, is_promotion):
    made = [
        RuleResult(rule="r", outcome=outcome, severity="hold", reason="", p_value=0.0004, plain="")
        for outcome in outcomes
    ]
    other = RuleResult(rule="floor", outcome="fail", severity="hold", reason="", plain="")
    account = Account(holdout="2", alpha=0.05, decisions=52, used=0, level=level, left=1.0)
    verdict = Verdict(verdict="promote", reasons=(), rules=(*made, other), account=account, p_value=0.0004)
    assert wear.use(verdict) == ledger.Use(holdout="2", level=level, p_value=0.0004, is_promotion=is_promotion)
    assert wear.use(verdict.model_copy(update={"p_value": None})) is None
    assert wear.use(verdict.model_copy(update={"account": None})) is None


def test_since_a_test_set_came_every_use_counts_whatever_it_calls_it():
    history = entries(use(0.5), use(0.5, holdout="2"), use(0.5, holdout="3"))
    day = datetime(2026, 3, 2, tzinfo=UTC)
    assert wear.account(history, YEAR, "3", since=day).used == 3
    assert wear.account(history, YEAR, "3", since=day.replace(day=3)).used == 1


def test_only_the_uses_of_this_test_set_count():
    history = entries(None, use(0.5), use(0.5, holdout="2"), None)
    assert [wear.account(history, YEAR, holdout).used for holdout in ("1", "2", "3")] == [1, 1, 0]


def test_after_the_planned_decisions_it_is_worn_out_though_alpha_is_left():
    worn = wear.account(entries(*[use(0.9)] * 3), WearSettings(decisions=3), "1")
    assert (worn.level, worn.left, worn.used) == (0, 0, 3)
    assert wear.remaining(worn) == (
        "worn out: all 3 decisions are taken; `tenuto holdout rotate` brings in a fresh test set"
    )


def test_what_was_spent_stays_spent_when_the_policy_becomes_stricter():
    worn = wear.account(entries(use(0.5, level=0.016)), WearSettings(alpha=0.01), "1")
    assert (worn.level, worn.left) == (0, 0)
    assert wear.remaining(worn).startswith("worn out: its alpha is spent; ")


def test_charges_never_add_up_to_more_than_alpha():
    history: list[ledger.Use] = []
    for _ in range(52):
        level = wear.account(entries(*history), YEAR, "1").level
        assert level > 0
        history.append(use(0.5, level=level))
    assert sum(u.level for u in history) / 0.8 == pytest.approx(0.05)


def test_remaining_in_words():
    # 0.8 * (0.05 - 11 * 0.001 / 0.8) / (1 + 0.8 * 40) = 0.000879
    account = wear.account(entries(*[use(0.5)] * 11), YEAR, "1")
    assert wear.remaining(account) == "41 of 52 decisions left; the next is taken at 0.00088"
    assert wear.remaining(account.model_copy(update={"level": 0.00004})).endswith("taken at 0.00004")


def shares(years: int) -> dict[str, list[float]]:
    """The benchmark's table: share of years per rule and column."""
    found = simulation.table(np.random.default_rng(7), years)
    return {rule.strip(): [float(column.mean()) for column in columns] for rule, columns in found.items()}


ACCOUNT, BONFERRONI = "the account (tenuto.deciding.wear)", "Bonferroni, cluster-robust"


def test_a_short_simulation_tells_the_rules_apart():
    found = shares(100)
    false, at_once, in_four, worse_at_once, _, false_one_draw = found[ACCOUNT]
    # standard error of a share of 0.05 in 100 years: 0.022
    assert false <= 0.05 + 3 * 0.022
    assert false_one_draw <= 0.05 + 3 * 0.022
    assert at_once >= 0.45
    assert in_four >= 0.92 - 3 * 0.027
    assert worse_at_once >= at_once - 0.1
    assert found["bare >="][0] == 1
    assert found["uncorrected 5 % test"][0] > 0.8
    assert found["Bonferroni, clusters ignored"][0] > 0.08


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_thousand_years():
    found = shares(1_000)
    false, at_once, in_four, worse_at_once, worse_in_four, false_one_draw = found[ACCOUNT]
    assert false <= 0.05
    assert false_one_draw <= 0.05
    assert at_once >= 0.45
    assert in_four >= 0.92
    # paired with Bonferroni on the same years: no worse when the others are equal, better when they are worse
    assert at_once >= found[BONFERRONI][1] - 0.01
    assert in_four >= found[BONFERRONI][2] - 0.01
    assert worse_at_once > found[BONFERRONI][3] + 0.02
    assert worse_in_four >= found[BONFERRONI][4]


def test_the_simulation_decides_as_the_gate_does():
    lead = simulation.leads(np.random.default_rng(3), 2, 0.03)[:, 0]  # (years, speakers)
    for row, expected in zip(lead, simulation.p_values(lead), strict=True):
        # a speaker's lead of 2: two clips that only the candidate gets right, 18 that both do
        candidate = np.concatenate([np.repeat([1, 0], [20 - max(-own, 0), max(-own, 0)]) for own in row])
        champion = np.concatenate([np.repeat([1, 0], [20 - max(own, 0), max(own, 0)]) for own in row])
        answers = Answers(
            labels=("no", "yes"),
            truth=np.ones(1000, dtype=np.int64),
            predicted={"candidate": candidate, "champion": champion},
            units=np.repeat(np.arange(50), 20),
        )
        assert statistics.p_value(answers, "accuracy", "candidate", versus="champion") == pytest.approx(expected)


def test_the_spending_rule_of_the_simulation_is_the_accounts_own():
    p = np.random.default_rng(5).uniform(size=(20, 52)) ** 2
    assert (simulation.by_spending(p, wear.DISCARD_ABOVE) == simulation.by_account(p)).all()
    assert simulation.by_account(p).any()


def test_the_simulated_leads_have_the_design_effect_and_the_gain_that_are_said():
    for gain in (0.0, simulation.BETTER, simulation.WORSE):
        lead = simulation.leads(np.random.default_rng(1), 100, gain)
        assert simulation.measured_design_effect(lead) == pytest.approx(1.3, abs=0.08)
        assert lead.mean() / 20 == pytest.approx(gain, abs=0.001)
