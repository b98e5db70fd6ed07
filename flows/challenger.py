"""What `tenuto gate live` runs: challenger against champion on the labelled clips that both heard in operation.

A plain function and no Prefect flow: a person waits. The verdict is written to the ledger as evidence and moves no
alias; `tenuto promote` does, by hand.
"""

from __future__ import annotations

import hashlib
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from flows import registry as registered
from flows import servers
from tasks import registry
from tasks.follow import RegistrySource
from tenuto.deciding import gate, wear
from tenuto.deciding.policy import load_policy
from tenuto.errors import RegistryError
from tenuto.monitoring import challenger as comparison
from tenuto.records import Record, Verdict
from tenuto.serving.hearing.sources import Source
from tenuto.settings import Params
from tenuto.tracing import ledger, served
from tenuto.workspace import Workspace

LEAST_PAIRS = 20


class Live(Record):
    """Challenger and champion on real traffic; `gate live --json` prints it."""

    challenger: str
    champion: str
    clips: int = Field(description="labelled clips that both heard")
    verdict: Verdict
    not_judged: tuple[str, ...] = Field(description="rules of the policy that traffic cannot answer")
    metrics: dict[str, dict[str, float]] = Field(description="of the challenger as 'candidate', and of the champion")
    entry: int = Field(description="number of the ledger's entry")


def judge(workspace: Workspace, params: Params, *, source: Source | None = None) -> Live:
    """The gate's verdict on the challenger by the log of served predictions, as an entry of the ledger.

    Raises RegistryError when there is no champion or challenger, or too few labelled clips that both heard. `source` is
    by default the registry.
    """
    policy, not_judged = comparison.live_policy(load_policy(workspace.promotion, params.data.labels))
    uri = servers.tracking_uri(workspace, params)
    source = source or RegistrySource(uri, params.name, workspace.served_models)
    champion, challenger = _versions(source)
    answered = served.frame(workspace.served, model=params.name, is_labelled=True, without=["embedding"])
    found = comparison.pairs(answered, challenger, champion)
    if len(found) < LEAST_PAIRS:
        raise RegistryError(
            f"{len(found)} labelled clips were heard by version {challenger} beside version {champion}; "
            f"at least {LEAST_PAIRS} are wanted. `tenuto serve --challenger 0.1` lets it listen, and "
            "`POST /v1/feedback` takes labels; those of the label queue are of hard clips and do not count."
        )
    name = comparison.account_name(challenger, champion)
    account = wear.account(registered.entries(workspace, params), policy.wear, name)
    # the table may name speakers: it is not kept, and can be made again from the log, where an erasure reaches them
    with tempfile.TemporaryDirectory(prefix="tenuto-live-") as folder:
        answers = Path(folder) / "answers.parquet"
        evaluated = comparison.evaluate(found, answers, params.evaluate, params.data.labels, params.split.group)
        verdict = gate.judge(policy, evaluated, account)
        sha256 = hashlib.sha256(answers.read_bytes()).hexdigest()
    entry = registry.record(uri, workspace.ledger, _decision(params.name, challenger, verdict, sha256))
    return Live(
        challenger=challenger,
        champion=champion,
        clips=len(found),
        verdict=verdict,
        not_judged=not_judged,
        metrics=evaluated.metrics,
        entry=entry.number,
    )


def _versions(source: Source) -> tuple[str, str]:
    champion, challenger = source.resolve("champion"), source.resolve("challenger")
    if champion is None or challenger is None:
        missing = "@champion" if champion is None else "@challenger"
        raise RegistryError(
            f"{source.name} has no {missing}: there are no two versions to compare on live traffic. A version becomes "
            "@challenger when `tenuto retrain` registers and does not promote it; what was promoted is none any more, "
            "also after a rollback: `tenuto retrain --force` makes another one."
        )
    return champion, challenger


def _decision(name: str, challenger: str, verdict: Verdict, sha256: str) -> ledger.Decision:
    return ledger.Decision(
        at=datetime.now(UTC),
        actor="monitor",
        event="evidence",
        model=name,
        version=challenger,
        verdict=verdict.verdict,
        reasons=tuple(rule.plain or f"{rule.rule}: {rule.outcome}" for rule in verdict.rules),
        policy_sha256=verdict.policy_sha256,
        evidence={"live answers": sha256},
        use=wear.use(verdict),
    )
