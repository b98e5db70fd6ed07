"""The decision: is the candidate to be champion, a challenger, or refused?

Every rule of the policy is decided by an interval, not by a point: above, below, or undecided. A rule that could not
be evaluated is never a pass. The outcome of each is a sentence that the person on duty can read. What one rule comes to
is found in `tenuto.deciding.judging`; here the rules become a verdict.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from tenuto.deciding import claims, wording
from tenuto.deciding.judging import GRAVITY, Bench, judged
from tenuto.deciding.policy import Policy, Rule, load_policy
from tenuto.deciding.slices import slices_of
from tenuto.records import Account, Evaluation, RuleResult, Verdict, VerdictName
from tenuto.scoring.evaluation import CHAMPION, read_answers
from tenuto.typed_yaml import digest

__all__ = ["Policy", "Rule", "decide", "judge", "load_policy"]


def judge(policy: Policy, evaluation: Evaluation, account: Account | None = None) -> Verdict:
    """What to do with the candidate, and why, rule by rule; the gravest reason comes first.

    A failed `reject` rule refuses it. Else a `reject` rule that could not be evaluated, or whose interval straddles
    its threshold, leaves the question open ('not evaluated', 'inconclusive'). Else any `hold` rule not passed makes
    it a challenger ('register'). Else 'promote', unless nothing was judged at all: 'not evaluated'.

    `account` sets the level at which a lead over the champion counts as shown; without one it is that of the intervals.
    """
    table = pd.read_parquet(evaluation.probabilities_path)
    answers = read_answers(table, evaluation.labels, evaluation.unit_name, evaluation.labels_per_clip)
    bench = Bench(policy, evaluation, answers, account)
    single = [judged(rule, slices, bench) for rule in policy.rules for slices in slices_of(rule, table, evaluation)]
    found = claims.settled(single, bench)
    leads = [j.result.p_value for j in found if j.rule.is_superiority and j.result.p_value is not None]
    results = tuple(j.result for j in found)
    verdict = decide(results)
    reasons = tuple(f"{r.rule}: {r.reason}" for r in sorted(results, key=_lightness)) or (wording.NO_RULES,)
    has_champion = CHAMPION in bench.answers.predicted or CHAMPION in evaluation.unscored
    if verdict == "promote" and has_champion and not any(rule.is_superiority for rule in policy.rules):
        reasons = (*reasons, wording.NO_CLAIM)
    return Verdict(
        verdict=verdict,
        reasons=reasons,
        rules=results,
        policy_sha256=digest(policy),
        account=account,
        p_value=max(leads, default=None),
    )


def decide(results: Sequence[RuleResult]) -> VerdictName:
    """The verdict that follows from the rules' outcomes."""
    rejecting = {r.outcome for r in results if r.severity == "reject"}
    judged_at_all = [r for r in results if r.outcome != "not applicable"]
    if "fail" in rejecting:
        return "reject"
    if rejecting & {"not evaluated", "insufficient n"} or not judged_at_all:
        return "not evaluated"
    if "inconclusive" in rejecting:
        return "inconclusive"
    return "promote" if all(r.outcome == "pass" for r in judged_at_all) else "register"


def _lightness(result: RuleResult) -> tuple[bool, bool, int]:
    """Sorts what decides the verdict to the front: open or failed `reject` rules, then `hold` rules, then the rest."""
    is_settled = result.outcome in ("pass", "not applicable")
    return is_settled, result.severity == "hold" and not is_settled, GRAVITY[result.outcome]
