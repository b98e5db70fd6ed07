"""Holds an evaluation against the promotion policy."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from tenuto import gate
from tenuto.records import Evaluation, Verdict


@task(name="decide", cache_policy=NO_CACHE, persist_result=False)
def decide(policy: gate.Policy, evaluation: Evaluation) -> Verdict:
    """The verdict with a reason per rule, also kept as Prefect artifacts."""
    verdict = gate.judge(policy, evaluation)
    lines = "\n".join(f"- {reason}" for reason in verdict.reasons)
    create_markdown_artifact(f"# {verdict.verdict}\n\n{lines}\n", key="verdict", description="the gate's decision")
    rules = [{"rule": r.rule, "outcome": r.outcome, "severity": r.severity, "reason": r.reason} for r in verdict.rules]
    create_table_artifact(rules, key="promotion-rules", description="one row per rule of promotion.yaml")
    return verdict
