"""What the rules of a promotion policy mean, in a sentence each, for a person who has just written one.

Separate from `tenuto.deciding.wording`, which says how a rule came out.
"""

from __future__ import annotations

from tenuto.deciding.policy import Policy, Rule

_METRICS = {
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "mean_average_precision": "mean average precision",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1",
    "expected_calibration_error": "expected calibration error",
    "log_loss": "log loss",
    "brier": "Brier score",
    "latency_p95_ms": "latency (95 % of clips within, in ms)",
    "real_time_factor": "time per second of sound",
    "size_mb": "size in MB",
}
_OPPONENTS = {"baseline": "the from-scratch baseline", "champion": "the champion", "majority": "the majority class"}
_PLACES = {
    "overall": "on all test clips",
    "worst class": "of the worst class",
    "worst group": "in the worst group of each group column",
    "worst slice": "in the worst band of each recording condition",
}


def sentences(policy: Policy) -> tuple[tuple[str, str], ...]:
    """Each rule's name with what it demands and what follows when it fails, then what holds for all."""
    rules = tuple((rule.name, f"{demand(rule)}. {consequence(rule)}") for rule in policy.rules)
    return (*rules, ("licences", _licences(policy)), ("approval", _approval(policy)), ("wear", _wear(policy)))


def demand(rule: Rule) -> str:
    """'macro-F1 on all test clips is at least 0.6'."""
    metric = f"{_METRICS.get(rule.metric, rule.metric)} {_place(rule.of)}"
    if rule.minus:
        metric += f", less that {_place(rule.minus)},"
    return f"{metric} {_test(rule)}"


def consequence(rule: Rule) -> str:
    """What a failure and an open question lead to."""
    failed = "Failed, the candidate is refused" if rule.severity == "reject" else "Failed, it is a challenger at most"
    if rule.severity == "hold":
        undecided = "undecided, too"
    elif rule.undecided == "hold":
        undecided = "undecided, it is a challenger"
    else:
        undecided = "undecided, nothing is registered"
    shared = f" Any rule of claim {rule.claim!r} is enough." if rule.claim else ""
    return f"{failed}; {undecided}.{shared}"


def _place(of: str) -> str:
    if of in _PLACES:
        return _PLACES[of]
    kind, _, name = of.partition("=")
    if kind in ("worst group", "worst slice"):
        return f"in the worst {name}"
    return f"of class {name!r}" if kind == "class" else f"where {kind} is {name!r}"


def _test(rule: Rule) -> str:
    value = getattr(rule, rule.test)
    by = f"{value:g} %" if rule.is_relative else f"{value:g}"
    if rule.versus is None:
        return f"is at {'least' if rule.test == 'at_least' else 'most'} {by}"
    other = _OPPONENTS[rule.versus]
    if rule.is_superiority or rule.test.startswith("better_by"):
        return f"is better than that of {other}" + (f" by more than {by}" if value else "")
    if rule.test == "not_better_by":
        return f"is not better than that of {other} by more than {by}, which would smell of a leak"
    return f"is not worse than that of {other} by more than {by}" if value else f"is not worse than that of {other}"


def _approval(policy: Policy) -> str:
    if policy.approval == "person":
        return "A candidate that passes waits for `tenuto approve`."
    return "A candidate that passes becomes the champion at once."


def _licences(policy: Policy) -> str:
    if policy.licences == "commercial":
        return "A backbone whose licence is not known to allow commercial use is refused before anything runs."
    return "A backbone may have any licence."


def _wear(policy: Policy) -> str:
    wear = policy.wear
    if not any(rule.is_superiority for rule in policy.rules):
        return "No rule asks whether the candidate beats the champion, so no decision wears out the test set."
    return (
        f"A test set serves for {wear.decisions} decisions; the chance that any candidate which is no better passes "
        f"for better stays at most {wear.alpha * 100:g} %."
    )
