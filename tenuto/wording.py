"""The gate's sentences, with their figures, for a person who reads them in the morning."""

from __future__ import annotations

from tenuto.policy import Rule
from tenuto.records import Evaluation, Interval
from tenuto.slices import Slice, Slices

NO_RULES = "The promotion policy has no rules: nothing was judged."

_OPPONENTS = {"baseline": "the from-scratch baseline", "champion": "the champion", "majority": "the majority class"}
_METRICS = {"macro_f1": "macro-F1", "balanced_accuracy": "balanced accuracy", "f1": "F1"}
_NAMED_AT_MOST = 5


def sentence(
    rule: Rule,
    outcome: str,
    interval: Interval,
    scores: tuple[float, float | None],
    confidence: float,
    where: str,
) -> str:
    """One sentence without its full stop: slice, metric, interval, what was resampled, and how it compares."""
    metric = _METRICS.get(rule.metric, rule.metric)
    doubt = f"{confidence * 100:g} % {{}}, resampled by {interval.resampled}"
    if rule.at_least is not None:
        doubt = doubt.format(f"{interval.low:.3f}-{interval.high:.3f}")
        return f"{where}{metric} {interval.value:.3f} ({doubt}) {_against_floor(rule.at_least, outcome)}"
    doubt = doubt.format(f"{interval.low:+.3f} to {interval.high:+.3f}")
    score, other = scores
    return (
        f"{where}{metric} {score:.3f} against {other:.3f} of {_OPPONENTS[str(rule.versus)]}: "
        f"difference {interval.value:+.3f} ({doubt}), {_against_other(rule, outcome)}"
    )


def slice_name(rule: Rule, part: Slice, judged: int) -> str:
    """'worst class 'seven' (64 clips): ', or nothing for all clips."""
    if not part.name:
        return ""
    worst = f"worst of {judged}, " if rule.of.startswith("worst") and judged > 1 else ""
    return f"{worst}{part.name} ({part.clips} clips): "


def too_little(rule: Rule, slices: Slices) -> str:
    """Why a rule was not evaluated."""
    if slices.missing:
        return f"{slices.missing}."
    return (
        f"too few test clips to tell: {_small(slices)}; the rule wants {rule.min_clips}. "
        "Add test clips, or lower its min_clips in the promotion policy."
    )


def aside(rule: Rule, slices: Slices, evaluation: Evaluation) -> str:
    """What the figures leave out, and the full stop."""
    parts = []
    if slices.too_small:
        parts.append(f"not judged, for want of {rule.min_clips} clips: {_small(slices)}")
    if rule.versus == "champion" and evaluation.left_out:
        parts.append(f"left out for all models: {len(evaluation.left_out)} clips that the champion trained on")
    return "".join(f"; {part}" for part in parts) + "."


def _small(slices: Slices) -> str:
    named = [f"{s.name or 'the test set'} ({s.clips})" for s in slices.too_small]
    more = f" and {len(named) - _NAMED_AT_MOST} more" if len(named) > _NAMED_AT_MOST else ""
    return ", ".join(named[:_NAMED_AT_MOST]) + more


def _against_floor(floor: float, outcome: str) -> str:
    value = _short(floor)
    if outcome == "inconclusive":
        return f"may lie on either side of the floor {value}: more test clips would tell"
    return f"is {'above' if outcome == 'pass' else 'below'} the floor {value}"


def _against_other(rule: Rule, outcome: str) -> str:
    if rule.better_by is not None:
        by = f" by more than {_short(rule.better_by)}" if rule.better_by else ""
        return {"pass": f"better{by}", "fail": f"not better{by}"}.get(outcome, f"not shown to be better{by}")
    margin = _short(rule.not_worse_by or 0.0)
    return {"pass": f"not worse by more than {margin}", "fail": "worse"}.get(
        outcome, f"which leaves open whether it is worse by more than {margin}"
    )


def _short(value: float) -> str:
    """At least two decimals: 0.60, 0.025."""
    text = f"{value:.4f}".rstrip("0")
    return text + "0" * (4 - len(text)) if len(text) < 4 else text
