"""Holds an evaluation against the promotion policy."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from tenuto.deciding import gate
from tenuto.records import Account, Evaluation, RuleResult, Verdict
from tenuto.reporting import oversight


@task(name="decide", cache_policy=NO_CACHE, persist_result=False)
def decide(policy: gate.Policy, evaluation: Evaluation, account: Account | None = None) -> Verdict:
    """The verdict with a reason per rule, also kept as Prefect artifacts; `account` is what is left of the test set."""
    verdict = gate.judge(policy, evaluation, account)
    create_markdown_artifact(summary(verdict), key="verdict", description="the gate's decision")
    rows = [row(result) for result in verdict.rules]
    create_table_artifact(rows, key="promotion-rules", description="one row per rule of promotion.yaml")
    return verdict


def summary(verdict: Verdict) -> str:
    """The verdict, its reasons and what is left of the test set, as Markdown."""
    lines = [f"# {verdict.verdict}", "", *(f"- {reason}" for reason in verdict.reasons), ""]
    if left := oversight.test_set(verdict):
        lines += [f"**{left.sentence}.** {left.taken} {left.advice}".rstrip(), ""]
    return "\n".join(lines)


def row(result: RuleResult) -> dict[str, str | float | None]:
    """A rule in the table of rules; what was not measured is left empty."""
    known = result.low is not None and result.high is not None
    return {
        "rule": result.rule,
        "outcome": result.outcome,
        "severity": result.severity,
        "measured": _rounded(result.observed),
        "interval": f"{result.low:.3f} to {result.high:.3f}" if known else None,
        "wanted": _rounded(result.threshold),
        "p": _rounded(result.p_value),
        "reason": result.reason,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)
