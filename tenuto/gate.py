"""The decision: is the candidate to be champion, a challenger, or refused?

Every rule of the policy is decided by an interval, not by a point: above, below, or undecided. A rule that could not
be evaluated is never a pass. The outcome of each is a sentence that the person on duty can read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from tenuto import statistics, wording
from tenuto.evaluation import BOOTSTRAP_SEED, CANDIDATE, CHAMPION, read_answers
from tenuto.policy import Policy, Rule, load_policy
from tenuto.records import Evaluation, Interval, RuleOutcome, RuleResult, Verdict, VerdictName
from tenuto.settings import digest
from tenuto.slices import Slice, Slices, slices_of
from tenuto.statistics import Answers

__all__ = ["Policy", "Rule", "decide", "judge", "load_policy"]

Outcome = RuleOutcome

_GRAVITY: dict[Outcome, int] = {
    "fail": 0,
    "not evaluated": 1,
    "insufficient n": 2,
    "inconclusive": 3,
    "pass": 4,
    "not applicable": 5,
}


@dataclass(frozen=True)
class Found:
    """How one rule came out on one slice: `interval` is the score, or the lead over the opponent."""

    slice: Slice
    outcome: Outcome
    interval: Interval
    score: float
    opponent_score: float | None


def judge(policy: Policy, evaluation: Evaluation) -> Verdict:
    """What to do with the candidate, and why, rule by rule; the gravest reason comes first.

    A failed `reject` rule refuses it. Else a `reject` rule that could not be evaluated, or whose interval straddles
    its threshold, leaves the question open ('not evaluated', 'inconclusive'). Else any `hold` rule not passed makes
    it a challenger ('register'). Else 'promote', unless nothing was judged at all: 'not evaluated'.
    """
    table = pd.read_parquet(evaluation.probabilities_path)
    answers = read_answers(table, evaluation.labels, evaluation.unit_name)
    results = tuple(
        _result(rule, policy, evaluation, answers, slices)
        for rule in policy.rules
        for slices in slices_of(rule, table, evaluation)
    )
    gravest_first = sorted(results, key=_lightness)
    return Verdict(
        verdict=decide(results),
        reasons=tuple(f"{r.rule}: {r.reason}" for r in gravest_first) or (wording.NO_RULES,),
        rules=results,
        policy_sha256=digest(policy),
    )


def _lightness(result: RuleResult) -> tuple[bool, bool, int]:
    """Sorts what decides the verdict to the front: open or failed `reject` rules, then `hold` rules, then the rest."""
    is_settled = result.outcome in ("pass", "not applicable")
    return is_settled, result.severity == "hold" and not is_settled, _GRAVITY[result.outcome]


def decide(results: Sequence[RuleResult]) -> VerdictName:
    """The verdict that follows from the rules' outcomes."""
    rejecting = {r.outcome for r in results if r.severity == "reject"}
    judged = [r for r in results if r.outcome != "not applicable"]
    if "fail" in rejecting:
        return "reject"
    if "not evaluated" in rejecting or not judged:
        return "not evaluated"
    if "inconclusive" in rejecting:
        return "inconclusive"
    return "promote" if all(r.outcome == "pass" for r in judged) else "register"


def _result(rule: Rule, policy: Policy, evaluation: Evaluation, answers: Answers, slices: Slices) -> RuleResult:
    name = f"{rule.name} ({slices.column})" if rule.of == "worst group" and slices.column else rule.name
    if rule.versus is not None and rule.versus not in answers.predicted:
        return _without_opponent(rule, name, evaluation)
    if not slices.is_applicable:
        return _unjudged(rule, name, "not applicable", f"{slices.missing}.")
    found = [_found(rule, policy, answers, part) for part in slices.judged]
    if not found or not (slices.is_complete or any(f.outcome == "fail" for f in found)):
        return _unjudged(rule, name, "not evaluated", wording.too_little(rule, slices))
    worst = min(found, key=lambda f: (_GRAVITY[f.outcome], f.interval.value))
    sentence = wording.sentence(
        rule,
        worst.outcome,
        worst.interval,
        (worst.score, worst.opponent_score),
        policy.confidence,
        wording.slice_name(rule, worst.slice, len(found)),
    )
    return RuleResult(
        rule=name,
        outcome=worst.outcome,
        severity=_severity(rule, worst.outcome),
        reason=sentence + wording.aside(rule, slices, evaluation),
        observed=worst.interval.value,
        low=worst.interval.low,
        high=worst.interval.high,
        threshold=_threshold(rule),
    )


def _found(rule: Rule, policy: Policy, answers: Answers, part: Slice) -> Found:
    heard = answers if part.label is not None else answers.where(part.mask)
    interval = statistics.interval(
        heard,
        rule.metric,
        CANDIDATE,
        versus=rule.versus,
        label=part.label,
        confidence=policy.confidence,
        resamples=policy.resamples,
        rng=np.random.default_rng(BOOTSTRAP_SEED),
    )
    score = statistics.point(heard, rule.metric, CANDIDATE, part.label)
    other = statistics.point(heard, rule.metric, rule.versus, part.label) if rule.versus else None
    return Found(part, _outcome(rule, interval), interval, score, other)


def _outcome(rule: Rule, interval: Interval) -> Outcome:
    """A candidate shown to be worse at all fails `not_worse_by`, however small the lag: nothing speaks for it."""
    if rule.at_least is not None:
        passes, fails = interval.low >= rule.at_least, interval.high < rule.at_least
    elif rule.better_by is not None:
        passes, fails = interval.low > rule.better_by, interval.high <= rule.better_by
    else:
        passes, fails = interval.low >= _threshold(rule), interval.high < 0
    if fails:
        return "fail"
    return "pass" if passes else "inconclusive"


def _threshold(rule: Rule) -> float:
    if rule.not_worse_by is not None:
        return -rule.not_worse_by
    return rule.at_least if rule.at_least is not None else rule.better_by or 0.0


def _severity(rule: Rule, outcome: Outcome) -> Literal["reject", "hold"]:
    """What the outcome weighs: an open question may weigh less than a failure."""
    is_open = outcome in ("inconclusive", "not evaluated")
    return "hold" if is_open and rule.undecided == "hold" else rule.severity


def _without_opponent(rule: Rule, name: str, evaluation: Evaluation) -> RuleResult:
    if rule.versus == CHAMPION and CHAMPION not in evaluation.unscored:
        return _unjudged(rule, name, "not applicable", "there is no champion yet.")
    why = evaluation.unscored.get(str(rule.versus), f"there are no answers of the {rule.versus}")
    return _unjudged(rule, name, "not evaluated", f"{why}.")


def _unjudged(rule: Rule, name: str, outcome: Outcome, reason: str) -> RuleResult:
    return RuleResult(rule=name, outcome=outcome, severity=_severity(rule, outcome), reason=reason)
