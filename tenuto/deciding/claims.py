"""Rules that share a `claim` are alternatives: any one of them shows it, and the claim is decided once.

With several chances to be shown, one will come up by luck. The evidence of each rule therefore counts only as far as it
survives Holm's correction over all of them. To fail, a claim must fail by all of them, which needs no correction.
"""

from __future__ import annotations

from collections.abc import Sequence

from tenuto.deciding.judging import Bench, Judged, severity
from tenuto.records import RuleOutcome, RuleResult
from tenuto.scoring import statistics


def settled(judged: Sequence[Judged], bench: Bench) -> list[Judged]:
    """The rules in their order, those of a claim together as one, where the first of them stood."""
    found: list[Judged] = []
    seen: set[str] = set()
    for one in judged:
        claim = one.rule.claim
        if claim is None:
            found.append(one)
        elif claim not in seen:
            seen.add(claim)
            found.append(_together(claim, [j for j in judged if j.rule.claim == claim], bench))
    return found


def _together(claim: str, members: Sequence[Judged], bench: Bench) -> Judged:
    """The claim as one result: its figures are those of the rule with the strongest evidence."""
    applying = [j for j in members if j.result.outcome != "not applicable"]
    if not applying:
        return _renamed(members[0], claim, "not applicable", members[0].result.reason, members[0].result.plain)
    adjusted = statistics.holm([1.0 if j.p_value is None else j.p_value for j in applying])
    p_value, best = min(zip(adjusted, applying, strict=True), key=lambda pair: pair[0])
    outcome = _outcome(applying, bench.shows(best.rule, p_value) and best.result.outcome == "pass")
    level = f"p = {p_value:.2g} after Holm's correction over {len(applying)} alternatives"
    if outcome == "pass":
        reason, plain = (f"shown by {best.rule.name!r} ({level}): {best.result.reason}", best.result.plain)
    else:
        reason = f"not shown ({level}): " + " / ".join(f"{j.rule.name!r}: {j.result.reason}" for j in applying)
        plain = " / ".join(j.result.plain for j in applying)
    is_tested = best.rule.is_superiority and best.p_value is not None
    return _renamed(best, claim, outcome, reason, f"{level}: {plain}", p_value if is_tested else None)


def _outcome(members: Sequence[Judged], is_shown: bool) -> RuleOutcome:
    outcomes = [j.result.outcome for j in members]
    if is_shown:
        return "pass"
    for outcome in ("not evaluated", "insufficient n", "inconclusive", "pass"):
        if outcome in outcomes:
            return "inconclusive" if outcome == "pass" else outcome
    return "fail"


def _renamed(
    best: Judged, claim: str, outcome: RuleOutcome, reason: str, plain: str, p_value: float | None = None
) -> Judged:
    result: RuleResult = best.result.model_copy(
        update={
            "rule": claim,
            "outcome": outcome,
            "severity": severity(best.rule, outcome),
            "reason": reason,
            "plain": plain,
            "p_value": p_value,
        }
    )
    return Judged(best.rule, result, p_value)
