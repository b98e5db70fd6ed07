"""How one promotion rule comes out on its slices.

A rule about the worst of several slices passes only if each of them passes: that needs no correction, since a false
pass would take an error on the one slice that is bad (Berger 1982, "Multiparameter hypothesis testing and acceptance
sampling": the intersection-union test). But it fails when any one of them fails, and of many slices one will look bad
by chance: failures must survive Holm's correction over the slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tenuto.deciding import thresholds, wording
from tenuto.deciding.policy import BUDGETS, LOSSES, UNDEFINED, Policy, Rule
from tenuto.deciding.slices import Slice, Slices
from tenuto.deciding.thresholds import More, threshold_of
from tenuto.records import Account, Evaluation, Interval, RuleOutcome, RuleResult
from tenuto.scoring import statistics
from tenuto.scoring.evaluation import BOOTSTRAP_SEED, CANDIDATE, CHAMPION
from tenuto.scoring.statistics import Answers, Sample, Term

GRAVITY: dict[RuleOutcome, int] = {
    "fail": 0,
    "not evaluated": 1,
    "insufficient n": 2,
    "inconclusive": 3,
    "pass": 4,
    "not applicable": 5,
}


@dataclass(frozen=True)
class Bench:
    """What every rule is judged with."""

    policy: Policy
    evaluation: Evaluation
    answers: Answers
    account: Account | None

    def level(self, rule: Rule) -> float:
        """The one-sided level at which the rule's claim counts as shown; 0: by no evidence at all."""
        return self.account.level if rule.is_superiority and self.account is not None else self.policy.doubt

    def shows(self, rule: Rule, p_value: float) -> bool:
        """Whether the evidence is enough; at level 0 none is."""
        return self.level(rule) > 0 and p_value <= self.level(rule)


@dataclass(frozen=True)
class Judged:
    """A rule and what it came to; `p_value` is that of the claim that it makes, None where it was not tested."""

    rule: Rule
    result: RuleResult
    p_value: float | None = None


@dataclass(frozen=True)
class Found:
    """How one rule came out on one slice: `interval` is of the score, the gap, or the lead over the opponent."""

    slice: Slice
    sample: Sample
    outcome: RuleOutcome
    interval: Interval
    p_value: float
    chance: float | None = None
    """Holm-adjusted p-value of a failure that luck alone explains, with so many slices."""

    @property
    def scores(self) -> tuple[float, float | None]:
        """The candidate's score (or gap) and the opponent's, if there is one."""
        scores = self.sample.scores
        if self.slice.minus is not None:
            scores = tuple(one - other for one, other in zip(scores[::2], scores[1::2], strict=True))
        return scores[0], scores[1] if len(scores) > 1 else None


def judged(rule: Rule, slices: Slices, bench: Bench) -> Judged:
    """The rule's outcome on these slices, with its reason."""
    name = (
        f"{rule.name} ({slices.column})" if rule.of in ("worst group", "worst slice") and slices.column else rule.name
    )
    if rule.metric in BUDGETS:
        return Judged(rule, _within_budget(rule, bench.evaluation))
    if why := UNDEFINED[bench.answers.kind].get(rule.metric):
        return Judged(rule, unjudged(rule, name, "not evaluated", f"{wording.metric_name(rule)}, {why}."))
    if rule.versus is not None and rule.versus not in bench.answers.predicted:
        return Judged(rule, _without_opponent(rule, name, bench.evaluation))
    if not slices.is_applicable:
        return Judged(rule, unjudged(rule, name, "not applicable", f"{slices.missing}."))
    if slices.missing:
        return Judged(rule, unjudged(rule, name, "fail", f"{slices.missing}.", wording.SLICE_MISSING))
    if rule.is_relative and _scores_nothing(rule, bench.answers):
        return Judged(rule, unjudged(rule, name, "not evaluated", wording.nothing_to_compare(rule)))
    slices = _with_labels(rule, slices, bench.answers)
    found = _corrected([_found(rule, bench, part) for part in slices.judged], rule, bench)
    if not found or not (slices.is_complete or any(f.outcome == "fail" for f in found)):
        plain = wording.too_little(rule, slices, is_plain=True)
        return Judged(rule, unjudged(rule, name, "insufficient n", wording.too_little(rule, slices), plain))
    if rule.is_superiority and any(f.sample.has_few_units for f in found):
        reason = wording.few_units(bench.answers.unit_name)
        # nothing was asked of the test set, so nothing is drawn from its account
        return Judged(rule, unjudged(rule, name, "insufficient n", reason), 1.0)
    return _worst(rule, name, slices, found, bench)


def _with_labels(rule: Rule, slices: Slices, answers: Answers) -> Slices:
    """The same; where a mean over classes is asked for, slices in which no clip has any label are too small."""
    if answers.kind == "one" or rule.metric in ("accuracy", *LOSSES):
        return slices
    told = tuple(s for s in slices.judged if bool(answers.truth[s.looked_at].any()))
    return replace(slices, judged=told, too_small=(*slices.too_small, *(s for s in slices.judged if s not in told)))


def unjudged(rule: Rule, name: str, outcome: RuleOutcome, reason: str, plain: str | None = None) -> RuleResult:
    """The result of a rule without figures."""
    weight = severity(rule, outcome)
    return RuleResult(rule=name, outcome=outcome, severity=weight, reason=reason, plain=plain or reason)


def severity(rule: Rule, outcome: RuleOutcome) -> Literal["reject", "hold"]:
    """What the outcome weighs: an open question may weigh less than a failure."""
    is_open = outcome in ("inconclusive", "insufficient n", "not evaluated")
    return "hold" if is_open and rule.undecided == "hold" else rule.severity


def _worst(rule: Rule, name: str, slices: Slices, found: Sequence[Found], bench: Bench) -> Judged:
    threshold = threshold_of(rule)
    worst = min(found, key=lambda f: (GRAVITY[f.outcome], threshold.goodness(f.interval)))
    p_value = max(f.p_value for f in found)
    case = wording.Case(
        rule=rule,
        outcome=worst.outcome,
        interval=worst.interval,
        scores=worst.scores,
        slice=worst.slice,
        of=len(found),
        confidence=bench.policy.confidence,
        unit_name=bench.answers.unit_name,
        more=_more(worst, rule, len(found), bench),
        chance=worst.chance,
        claim=_claim(worst, rule, bench),
        kind=bench.answers.kind,
    )
    asides = [wording.aside(rule, slices, bench.evaluation, is_plain=is_plain) for is_plain in (False, True)]
    result = RuleResult(
        rule=name,
        outcome=worst.outcome,
        severity=severity(rule, worst.outcome),
        reason=wording.sentence(case) + asides[0],
        plain=wording.sentence(case, is_plain=True) + asides[1],
        observed=worst.interval.value,
        low=worst.interval.low,
        high=worst.interval.high,
        threshold=threshold.pass_at,
        p_value=p_value if rule.is_superiority else None,
    )
    return Judged(rule, result, p_value)


def _found(rule: Rule, bench: Bench, part: Slice) -> Found:
    sample = statistics.sampled(bench.answers, rule.metric, _terms(rule, part), rule.is_relative)
    interval = statistics.interval_of(
        sample,
        confidence=bench.policy.confidence,
        resamples=bench.policy.resamples,
        rng=np.random.default_rng(BOOTSTRAP_SEED),
    )
    threshold = threshold_of(rule)
    p_value = statistics.p_of(sample, threshold.pass_at, is_below=threshold.is_ceiling)
    outcome = threshold.outcome(interval)
    if outcome == "pass" and rule.is_lead and not bench.shows(rule, p_value):
        outcome = "inconclusive"
    return Found(part, sample, outcome, interval, p_value)


def _terms(rule: Rule, part: Slice) -> list[Term]:
    """The candidate's score, less the opponent's, each less that of `minus`; a lead is positive when it is better."""
    sides = [(part, 1.0)] if part.minus is None else [(part, 1.0), (part.minus, -1.0)]
    looked_at = [(side.label, side.looked_at, weight) for side, weight in sides]
    sign = -1.0 if rule.versus is not None and rule.is_lower_better else 1.0
    models = [(CANDIDATE, sign)] if rule.versus is None else [(CANDIDATE, sign), (rule.versus, -sign)]
    return [Term(model, label, mask, s * weight) for model, s in models for label, mask, weight in looked_at]


def _corrected(found: Sequence[Found], rule: Rule, bench: Bench) -> list[Found]:
    """The same, but a failure that chance alone would show on one of so many slices is inconclusive."""
    threshold = threshold_of(rule)
    if not any(f.outcome == "fail" for f in found):
        return list(found)
    chance = [statistics.p_of(f.sample, threshold.fail_at, is_below=not threshold.is_ceiling) for f in found]
    return [
        replace(f, outcome="inconclusive", chance=p_value)
        if f.outcome == "fail" and p_value > bench.policy.doubt
        else f
        for f, p_value in zip(found, statistics.holm(chance), strict=True)
    ]


def _more(found: Found, rule: Rule, slices: int, bench: Bench) -> More | None:
    """What would settle it; None where it is settled, or where it is not for want of clips that it stays open."""
    level, doubt, units = bench.level(rule), bench.policy.doubt, found.interval.groups
    if found.outcome != "inconclusive" or level <= 0:
        return None
    to_pass = thresholds.stretch(units, level, doubt) if rule.is_lead else 1.0
    to_fail = thresholds.stretch(units, doubt / slices, doubt)
    times = threshold_of(rule).times(found.interval, to_pass, to_fail)
    # where clips were resampled, within two speakers say, it is clips that count
    is_by_clip = found.interval.resampled.endswith(("clip", "clips"))
    return thresholds.more(times, found.interval, is_by_clip) if times > 1 else None


def _claim(found: Found, rule: Rule, bench: Bench) -> wording.Claim | None:
    """For a lead that is open: how its p-value compares with what it takes."""
    if not rule.is_lead or found.outcome != "inconclusive":
        return None
    is_ahead = threshold_of(rule).outcome(found.interval) == "pass"
    return wording.Claim(found.p_value, bench.level(rule), is_ahead, bench.account if rule.is_superiority else None)


def _within_budget(rule: Rule, evaluation: Evaluation) -> RuleResult:
    value = evaluation.latency.get(CANDIDATE, {}).get(BUDGETS[rule.metric])
    if value is None:
        return unjudged(rule, rule.name, "not evaluated", f"{wording.metric_name(rule)} was not measured.")
    outcome: RuleOutcome = "pass" if value <= rule.threshold else "fail"
    reason = wording.budget(rule, value)
    return unjudged(rule, rule.name, outcome, reason).model_copy(
        update={"observed": value, "threshold": rule.threshold}
    )


def _scores_nothing(rule: Rule, answers: Answers) -> bool:
    return statistics.point(answers, rule.metric, str(rule.versus)) == 0


def _without_opponent(rule: Rule, name: str, evaluation: Evaluation) -> RuleResult:
    if rule.versus == CHAMPION and CHAMPION not in evaluation.unscored:
        return unjudged(rule, name, "not applicable", "there is no champion yet.")
    absent = f"there are no answers of the {rule.versus}"
    why = evaluation.unscored.get(str(rule.versus), absent)
    return unjudged(rule, name, "not evaluated", f"{why}.", f"{absent}.")
