"""The gate's sentences, with their figures, for a person who reads them in the morning.

Each comes in two forms: in full, and plain, which names no group and so may stay in the ledger after an erasure.
"""

from __future__ import annotations

from dataclasses import dataclass

from tenuto.deciding.policy import LOSSES, Rule
from tenuto.deciding.slices import Slice, Slices
from tenuto.deciding.thresholds import TIMES_AT_MOST, More
from tenuto.labels import LabelType
from tenuto.records import Account, Evaluation, Interval, RuleOutcome
from tenuto.scoring.samples import MIN_UNITS

NO_RULES = "The promotion policy has no rules: nothing was judged."
NO_CLAIM = (
    "No rule claims that the candidate is better than the champion, so nothing was drawn from the account of the test "
    "set, and nothing limits how often chance may promote."
)
SLICE_MISSING = "required slice missing from the test clips."

_OPPONENTS = {"baseline": "the from-scratch baseline", "champion": "the champion", "majority": "the majority class"}
_METRICS = {
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "mean_average_precision": "mean average precision",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1",
    "expected_calibration_error": "calibration error",
    "log_loss": "log loss",
    "brier": "Brier score",
    "latency_p95_ms": "latency (95th percentile, ms)",
    "real_time_factor": "real-time factor",
    "size_mb": "size (MB)",
}
_NAMED_AT_MOST = 5


@dataclass(frozen=True)
class Claim:
    """A lead that is not shown: its p-value, what it takes, and whether the interval alone would have shown it."""

    p_value: float
    level: float
    is_ahead: bool
    account: Account | None = None


@dataclass(frozen=True)
class Case:
    """All that a sentence about a rule tells; `of` slices this one is the worst."""

    rule: Rule
    outcome: RuleOutcome
    interval: Interval
    scores: tuple[float, float | None]
    slice: Slice
    of: int
    confidence: float
    unit_name: str
    more: More | None = None
    claim: Claim | None = None
    chance: float | None = None
    kind: LabelType = "one"


def sentence(case: Case, *, is_plain: bool = False) -> str:
    """One sentence without its full stop: slice, metric, interval, what was resampled, and how it compares."""
    rule, found = case.rule, case.interval
    metric = metric_name(rule, case.kind)
    metric = f"gap in {metric}" if case.slice.minus is not None else metric
    where, sign = slice_name(case, is_plain), "+" if case.slice.minus is not None else ""
    doubt = f"{case.confidence * 100:g} % {{}}, resampled by {found.resampled}"
    if rule.versus is None:
        between = f"{found.low:+.3f} to {found.high:+.3f}" if sign else f"{found.low:.3f}-{found.high:.3f}"
        value = f"{found.value:{sign}.3f} ({doubt.format(between)})"
        return f"{where}{metric} {value} {_against_value(case)}{_luck(case)}{_needs(case)}"
    unit, scale = (" %", 100) if rule.is_relative else ("", 1)
    digits = 1 if rule.is_relative else 3
    low, value, high = (f"{x * scale:+.{digits}f}{unit}" for x in (found.low, found.value, found.high))
    score, other = case.scores
    word = "lead" if rule.metric in LOSSES else "difference"
    return (
        f"{where}{metric} {score:{sign}.3f} against {other:{sign}.3f} of {_OPPONENTS[str(rule.versus)]}: "
        f"{word} {value} ({doubt.format(f'{low} to {high}')}), {_against_other(case)}{_luck(case)}{_needs(case)}"
    )


def metric_name(rule: Rule, kind: LabelType = "one") -> str:
    """The metric in words; where clips have several labels, accuracy asks for all of a clip's."""
    if kind == "many" and rule.metric == "accuracy":
        return "share of clips with all labels right"
    return _METRICS.get(rule.metric, rule.metric)


def slice_name(case: Case, is_plain: bool) -> str:
    """'worst class 'seven' (64 clips): ', or nothing for all clips."""
    part = case.slice
    if not part.name and part.minus is None:
        return ""
    worst = f"worst of {case.of}, " if case.rule.of.startswith("worst") and case.of > 1 else ""
    less = f" less {_one(part.minus, is_plain)}" if part.minus is not None else ""
    return f"{worst}{_one(part, is_plain)}{less}: "


def too_little(rule: Rule, slices: Slices, *, is_plain: bool = False) -> str:
    """Why a rule had too few clips."""
    return (
        f"too few test clips to tell: {_small(slices, is_plain)}; the rule wants {rule.min_clips}. "
        "Add test clips, or lower its min_clips in the promotion policy."
    )


def few_units(unit_name: str) -> str:
    """Why a lead over the champion was not judged on few speakers."""
    return (
        f"too few {unit_name}s to speak for others: better than the champion takes at least {MIN_UNITS} {unit_name}s "
        f"among the test clips. Record more {unit_name}s, or decide by hand with `tenuto promote`."
    )


def nothing_to_compare(rule: Rule) -> str:
    """Why a percentage is not evaluated."""
    return f"{_OPPONENTS[str(rule.versus)]} scores 0, of which no percentage can be taken; use an absolute margin."


def budget(rule: Rule, value: float) -> str:
    """One sentence about a figure without an interval."""
    side = "within" if value <= rule.threshold else "above"
    return f"{metric_name(rule)} {value:.4g} is {side} the budget of {rule.threshold:g}."


def aside(rule: Rule, slices: Slices, evaluation: Evaluation, *, is_plain: bool = False) -> str:
    """What the figures leave out, and the full stop."""
    parts = []
    if slices.too_small:
        parts.append(f"not judged, for want of {rule.min_clips} clips: {_small(slices, is_plain)}")
    if rule.versus == "champion" and evaluation.left_out:
        parts.append(f"left out for all models: {len(evaluation.left_out)} clips that the champion trained on")
    return "".join(f"; {part}" for part in parts) + "."


def _one(part: Slice, is_plain: bool) -> str:
    return f"{(part.plain if is_plain else part.name) or 'the test set'} ({part.clips} clips)"


def _small(slices: Slices, is_plain: bool) -> str:
    named = [f"{(s.plain if is_plain else s.name) or 'the test set'} ({s.clips})" for s in slices.too_small]
    more = f" and {len(named) - _NAMED_AT_MOST} more" if len(named) > _NAMED_AT_MOST else ""
    return ", ".join(named[:_NAMED_AT_MOST]) + more


def _against_value(case: Case) -> str:
    rule, is_floor = case.rule, case.rule.test == "at_least"
    line = f"the {'floor' if is_floor else 'ceiling'} {_short(rule.threshold)}"
    if case.outcome == "inconclusive" and case.chance is None:
        return f"may lie on either side of {line}"
    return f"is {'above' if (case.outcome == 'pass') == is_floor else 'below'} {line}"


def _luck(case: Case) -> str:
    if case.chance is None:
        return ""
    return f", which of {case.of} slices one may do by chance (p = {case.chance:.2g} by Holm's correction)"


def _against_other(case: Case) -> str:
    rule, margin = case.rule, _margin(case.rule)
    outcome = case.outcome if case.chance is None else "fail"
    if rule.test == "not_better_by":
        return {
            "pass": f"no suspicious lead of {margin} or more",
            "fail": f"a suspicious lead beyond {margin}: look for test clips among the training clips",
        }.get(outcome, f"which leaves open whether it is a suspicious lead beyond {margin}")
    if rule.is_lead:
        by = f" by more than {margin}" if rule.threshold else ""
        found = {"pass": f"better{by}", "fail": f"not better{by}"}
        return found.get(outcome, f"not shown to be better{by}{_evidence(case.claim)}")
    return {"pass": f"not worse by more than {margin}", "fail": "worse"}.get(
        outcome, f"which leaves open whether it is worse by more than {margin}"
    )


def _evidence(claim: Claim | None) -> str:
    """Why an interval beyond the margin was not enough, or would not have been."""
    if claim is None:
        return ""
    if claim.level <= 0:
        return "; this test set is worn out: `tenuto holdout rotate` brings in a fresh one"
    if not claim.is_ahead:
        return ""
    account = claim.account
    so_far = f" after {account.used} of its {account.decisions} decisions" if account is not None else ""
    return f": p = {claim.p_value:.2g}, and this test set allows {claim.level:.2g}{so_far}"


def _needs(case: Case) -> str:
    """How many more clips would settle an open rule."""
    if case.more is None:
        return ""
    if case.more.clips is None:
        return f"; not even {TIMES_AT_MOST} times as many clips would be likely to settle it: it lies too near"
    groups = f" of about {case.more.groups} more {case.unit_name}s" if case.more.groups else ""
    return f"; about {case.more.clips} more clips{groups} would have an even chance to settle it"


def _margin(rule: Rule) -> str:
    return f"{rule.threshold * 100:g} %" if rule.is_relative else _short(rule.threshold)


def _short(value: float) -> str:
    """At least two decimals: 0.60, 0.025."""
    digits = len(f"{value:.4f}".rstrip("0").partition(".")[2])
    return f"{value:.{max(2, digits)}f}"
