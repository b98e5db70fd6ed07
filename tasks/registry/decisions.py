"""What the ledger says of a run's verdict."""

from __future__ import annotations

from datetime import UTC, datetime

from tasks.registry import store
from tenuto.deciding import wear
from tenuto.records import Checkpoint, Record, Verdict
from tenuto.serving.hearing.bundle import Exported
from tenuto.tracing.ledger import Decision, Grounds

ACTOR = "retrain"
_NOT_JUDGED = "the run ended before any rule was judged; its MLflow run says why"


class Candidate(Record):
    """What a verdict may register."""

    checkpoint: Checkpoint
    exported: Exported | None = None
    """The bundle that goes with the version, or why there is none; None where nothing was exported."""
    evaluated_against: str | None
    """The version that was champion in the evaluation."""
    tags: dict[str, str]
    """Lineage, licence of the backbone, figures: what the version says of itself besides its verdict."""
    description: str = ""
    """What MLflow's page of the version shows: the model card; the reasons of the verdict when there is none."""


def decision(
    name: str,
    verdict: Verdict,
    grounds: Grounds,
    before: dict[str, str],
    number: str | None = None,
    candidate: Candidate | None = None,
    alias: str | None = None,
) -> Decision:
    """What the ledger will say; with `alias`, after it has been set to version `number`."""
    after = dict(before)
    if alias and number:
        if alias == store.CHAMPION and store.CHAMPION in before:
            after[store.PREVIOUS] = before[store.CHAMPION]
        after[alias] = number
    evidence = {"checkpoint": candidate.checkpoint.sha256} if candidate else {}
    return Decision(
        at=datetime.now(UTC),
        actor=ACTOR,
        event="decision",
        model=name,
        version=number,
        verdict=verdict.verdict,
        reasons=_plain(verdict, grounds),
        policy_sha256=verdict.policy_sha256 or None,
        evidence=evidence | grounds.evidence,
        aliases_before=before,
        aliases=after,
        dataset_md5=grounds.dataset_md5,
        code_commit=grounds.code_commit,
        run_id=grounds.run_id,
        use=wear.use(verdict),
    )


def _plain(verdict: Verdict, grounds: Grounds) -> tuple[str, ...]:
    """The reasons without the names of groups and clips."""
    judged = [rule for rule in verdict.rules if rule.outcome != "not applicable"]
    of_rules = tuple(rule.plain or f"{rule.rule}: {rule.outcome}" for rule in judged)
    return of_rules or grounds.plain_reasons or (_NOT_JUDGED,)
