"""What `tenuto gate replay` runs: every stored decision judged again under another policy, without retraining.

Each decision is judged as it was put then: the same candidate, champion and test clips. What would have followed from
another verdict (another champion to beat the week after) cannot be known without training.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from pyarrow.parquet import read_schema
from pydantic import Field

from flows import servers
from tasks import replay as stored
from tenuto.deciding import gate, wear
from tenuto.deciding.policy import Policy, load_policy
from tenuto.errors import TenutoError
from tenuto.records import SLICE_PREFIX, Account, Record, RuleOutcome, Verdict, VerdictName
from tenuto.scoring import acoustics
from tenuto.settings import Params
from tenuto.tracing import ledger
from tenuto.typed_yaml import digest
from tenuto.workspace import Workspace

FIRST_TEST_SET = "1"


class Ruling(Record):
    """A verdict and the rule that decided it."""

    verdict: VerdictName
    rule: str = Field(default="", description="the gravest rule; empty when none stood in the way")
    outcome: RuleOutcome | None = None
    reason: str


class Flip(Record):
    """A decision that comes out otherwise."""

    run_id: str
    at: datetime
    version: str | None
    then: Ruling
    now: Ruling


class Unjudged(Record):
    """A decision that could not be judged again, and why."""

    run_id: str
    at: datetime
    reason: str


class Replay(Record):
    """All stored decisions under one policy."""

    policy: str = Field(description="the file it was read from")
    policy_sha256: str
    judged: int
    flips: tuple[Flip, ...]
    unjudged: tuple[Unjudged, ...]


def replay(
    workspace: Workspace,
    params: Params,
    policy_file: Path | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Replay:
    """The stored decisions that `policy_file` (default: the workspace's policy) would turn, the oldest first.

    Raises SettingsError when the policy cannot be used.
    """
    file = policy_file or workspace.promotion
    policy = load_policy(file)
    decisions = list(stored.decisions(servers.tracking_uri(workspace, params), params.name, workspace.cache))
    flips, unjudged, history = [], [], History(policy)
    for number, decision in enumerate(decisions, start=1):
        try:
            now = history.judge(decision)
        except CannotJudgeError as error:
            unjudged.append(Unjudged(run_id=decision.run_id, at=decision.at, reason=str(error)))
        else:
            flips += _flip(decision, now)
        on_progress(number, len(decisions))
    return Replay(
        policy=str(file),
        policy_sha256=digest(policy),
        judged=len(decisions) - len(unjudged),
        flips=tuple(flips),
        unjudged=tuple(unjudged),
    )


class CannotJudgeError(Exception):
    """Why a stored decision cannot be judged again."""


class History:
    """The policy's own account of each test set, as it would have gone down decision by decision."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._entries: list[ledger.Entry] = []

    def judge(self, decision: stored.Decision) -> Verdict:
        """The verdict now; it counts for the accounts of the decisions after it. Raises CannotJudgeError."""
        if decision.verdict is None or decision.evaluation is None:
            raise CannotJudgeError(decision.problem)
        account = self._account(decision.verdict)
        try:
            self._check_bands(decision.evaluation.probabilities_path)
            verdict = gate.judge(self._policy, decision.evaluation, account)
        except (OSError, ValueError, KeyError, TenutoError) as error:
            # answers of an older format, or damaged: Parquet's own error is a ValueError
            raise CannotJudgeError(f"its answers cannot be judged: {error}") from error
        self._enter(decision, verdict)
        return verdict

    def _check_bands(self, answers: Path) -> None:
        """A rule about a recording condition would take an older table, which has none, for a missing slice."""
        slices = [of for rule in self._policy.rules for of in (rule.of, rule.minus or "")]
        kinds = {of.removeprefix("worst ").partition("=")[0] for of in slices}
        has_bands = any(column.startswith(SLICE_PREFIX) for column in read_schema(answers).names)
        if kinds & {"slice", *acoustics.KINDS} and not has_bands:
            raise CannotJudgeError("it was taken before recording conditions were kept, and the policy asks for them")

    def _account(self, then: Verdict) -> Account:
        """The account that the decision was taken on, if by this very policy; else what the policy would have left."""
        kept = then.account
        if kept is not None and then.policy_sha256 == digest(self._policy):
            return kept
        return wear.account(self._entries, self._policy.wear, kept.holdout if kept else FIRST_TEST_SET)

    def _enter(self, decision: stored.Decision, verdict: Verdict) -> None:
        use = wear.use(verdict)
        if use is None:
            return
        taken = ledger.Decision(at=decision.at, actor="replay", event="decision", model=decision.run_id, use=use)
        self._entries.append(ledger.chained(taken, self._entries[-1] if self._entries else None))


def ruling(verdict: Verdict) -> Ruling:
    """The verdict with the rule that its first reason speaks of, unless nothing stood in the way."""
    if verdict.verdict == "promote":
        return Ruling(verdict=verdict.verdict, reason="all rules passed")
    first = verdict.reasons[0]
    decider = next((rule for rule in verdict.rules if first == f"{rule.rule}: {rule.reason}"), None)
    if decider is None:
        return Ruling(verdict=verdict.verdict, reason=first)
    return Ruling(verdict=verdict.verdict, rule=decider.rule, outcome=decider.outcome, reason=decider.reason)


def _flip(decision: stored.Decision, now: Verdict) -> list[Flip]:
    then = decision.verdict
    if then is None or then.verdict == now.verdict:
        return []
    rulings = {"then": ruling(then), "now": ruling(now)}
    return [Flip(run_id=decision.run_id, at=decision.at, version=decision.version, **rulings)]
