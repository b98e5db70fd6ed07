"""What the page says about the decision itself: what is left of the test set that it was taken on, and what the frozen
golden clips say beside it. Plain values, no markup; the decision's own figures are in `tenuto.reporting.decision`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tenuto.records import Account, Evaluation, Interval, RegisteredModel, Verdict
from tenuto.reporting import scores
from tenuto.reporting.formats import counted, small

LOW_SHARE = 0.2
"""With no more than this share of its decisions left, it is time to think of a fresh test set."""


@dataclass(frozen=True)
class TestSet:
    """One test set's account after the decision."""

    tone: str  # good, hold or bad
    name: str
    used: int
    decisions: int
    left: int
    share_left: float
    sentence: str
    taken: str  # how this decision was taken
    advice: str  # empty while there is plenty


def test_set(verdict: Verdict) -> TestSet | None:
    """The account, None when the decision was taken without one."""
    account = verdict.account
    if account is None:
        return None
    used = account.used + (verdict.p_value is not None)
    left = max(account.decisions - used, 0) if account.level else 0
    share = left / account.decisions
    tone = "bad" if not left else "hold" if share <= LOW_SHARE else "good"
    return TestSet(
        tone=tone,
        name=account.holdout,
        used=used,
        decisions=account.decisions,
        left=left,
        share_left=share,
        sentence=f"{left} of {counted(account.decisions, 'decision')} left on test set {account.holdout}",
        taken=_taken(account, verdict.p_value),
        advice=_advice(left, share),
    )


def _taken(account: Account, p_value: float | None) -> str:
    if p_value is None:
        return "This decision used none of them: it did not ask whether the candidate beats a champion."
    if not account.level:
        return f"This decision came too late: it was taken at p {small(p_value)}, and nothing was left to take it with."
    verb = "met" if p_value <= account.level else "missed"
    return f"This decision was taken at p {small(p_value)} and {verb} its level {small(account.level)}."


def _advice(left: int, share: float) -> str:
    if not left:
        return "Nothing more can be shown on these clips: `tenuto holdout rotate` brings in fresh ones."
    return "`tenuto holdout rotate` brings in fresh clips before these are used up." if share <= LOW_SHARE else ""


@dataclass(frozen=True)
class GoldenRow:
    """One model on the test clips and on the golden ones."""

    key: str
    name: str
    version: str
    test: Interval
    golden: Interval


@dataclass(frozen=True)
class Golden:
    """The frozen clips beside the test clips."""

    rows: list[GoldenRow]
    clips: int
    lead: Interval | None  # of the candidate over the champion, on the golden clips
    remarks: list[str]


def golden(test: Evaluation | None, frozen: Evaluation | None, champion: RegisteredModel | None) -> Golden | None:
    """Candidate and champion on both sets, None without golden clips."""
    if test is None or frozen is None:
        return None
    both = [key for key in ("candidate", "champion") if key in test.intervals and key in frozen.intervals]
    rows = [
        GoldenRow(
            key=key,
            name=scores.MODELS[key],
            version=champion.version if key == "champion" and champion else "",
            test=test.intervals[key],
            golden=frozen.intervals[key],
        )
        for key in both
    ]
    clips = rows[0].golden.n if rows else 0
    return Golden(rows, clips, frozen.differences.get("champion"), scores.remarks(frozen)) if rows else None
