"""What is left of a test set: how often it may still be asked whether a candidate beats the champion, and how strictly.

Fifty-two honest 5 % tests against one test set promote a model that is no better almost every year. So a test set has
an account: `alpha`, the chance that any false promotion happens in its whole life, is spent over the planned number of
decisions. The account is a fold over the ledger and is kept nowhere else; it belongs to a generation of the test set
(`tenuto.splitting.holdout`), so that a set which gains or loses clips keeps it and only a rotation opens a new one.

The rule. Let B be what is left of alpha and m the decisions left, this one included. Then

    charge = B / (1 + tau (m - 1)),    level = tau * charge,    tau = 0.8

and the claim is shown when its one-sided p-value is at most the level. Afterwards
- p > tau, the candidate clearly trails: the decision costs nothing (discarding; Tian & Ramdas 2021, "Online control of
  the familywise error rate", sections 4 and 5),
- the claim was shown: it costs nothing. If it was true there was nothing to pay; if it was false, the one error that is
  counted has happened (carrying alpha on, as their online fallback does, here to all later decisions alike),
- otherwise the charge is taken from B.
What a decision did not cost makes the later ones less strict. With tau = 1 and nothing shown, it is Bonferroni: each
level alpha / decisions.

What is guaranteed. P(any equal or worse candidate is shown to be better) <= alpha, whatever the number of truly better
ones, when each p-value is valid given the decisions before it and no less so below tau: for a <= tau, P(p <= a | the
past, p <= tau) <= a / tau. Proof: until the first false claim, the charges of the decisions without a better candidate
add up to at most alpha; each is at least the chance of a false claim there, given the past.
So a candidate must not be fitted to the answers on the test set. That all decisions share one test set makes their
p-values depend on one another, and then the guarantee is no theorem. The dependence works to the safe side, though:
where chance favours every candidate, small p-values pay and make the next levels smaller. `benchmarks/wear.py` measures
both cases. Alpha is of the claim "better than the champion"; the other rules of the gate have their own confidence.

What the account cannot know. It is folded over the ledgers that `tasks.registry.account` finds: that of the workspace,
of all its models, and the copies in its MLflow. Somebody who asks the same test set under another name on another host,
or with another MLflow, opens another account; so does whoever rewrites file and copies alike. One test set is to have
one workspace name and one MLflow: that is a rule for people, which no file on one machine can enforce.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from tenuto.deciding.policy import WearSettings
from tenuto.records import Account, Verdict
from tenuto.tracing.ledger import Entry, Use

DISCARD_ABOVE = 0.8
"""tau. Lower discards more, and levels vary more; at 0.8 `benchmarks/wear.py` finds no loss against Bonferroni beyond a
few years in a thousand, where candidates are equal, and a clear gain where most are worse."""


def account(entries: Sequence[Entry], settings: WearSettings, holdout: str, since: datetime | None = None) -> Account:
    """The account of the test set `holdout` before its next decision, by what the ledger's `entries` say of its use.

    With `since`, the time at which the test set came, every later use counts whatever it calls the test set: a set
    does not become fresh by another number. Levels are taken as they were recorded: when `settings` change, what was
    spent stays spent.
    """
    uses = [entry.use for entry in entries if entry.use is not None and _is_of(entry, entry.use, holdout, since)]
    left = max(settings.alpha - sum(_cost(use) for use in uses), 0.0) if len(uses) < settings.decisions else 0.0
    return Account(
        holdout=holdout,
        alpha=settings.alpha,
        decisions=settings.decisions,
        used=len(uses),
        level=_level(left, settings.decisions - len(uses)),
        left=left / settings.alpha,
    )


def use(verdict: Verdict) -> Use | None:
    """The decision as the account counts it; None when nothing was claimed of the champion.

    A promotion is a claim that was taken as shown: by every rule that made it, whatever their p-values.
    """
    if verdict.account is None or verdict.p_value is None:
        return None
    made = [rule for rule in verdict.rules if rule.p_value is not None]
    return Use(
        holdout=verdict.account.holdout,
        level=verdict.account.level,
        p_value=verdict.p_value,
        is_promotion=verdict.account.level > 0 and bool(made) and all(rule.outcome == "pass" for rule in made),
    )


def remaining(account: Account) -> str:
    """What is left, for the report: '41 of 52 decisions left; the next is taken at 0.00096'."""
    if account.level > 0:
        left, level = account.decisions - account.used, np.format_float_positional(account.level, 2, fractional=False)
        return f"{left} of {account.decisions} decisions left; the next is taken at {level}"
    is_over = account.used >= account.decisions
    why = f"all {account.decisions} decisions are taken" if is_over else "its alpha is spent"
    return f"worn out: {why}; `tenuto holdout rotate` brings in a fresh test set"


def _is_of(entry: Entry, use: Use, holdout: str, since: datetime | None) -> bool:
    # what traffic was asked says nothing of a test set
    return use.holdout == holdout or (since is not None and entry.at >= since and entry.event != "evidence")


def _cost(use: Use) -> float:
    """What a decision took from alpha."""
    is_free = use.is_promotion or use.p_value > DISCARD_ABOVE
    return 0.0 if is_free else use.level / DISCARD_ABOVE


def _level(left: float, decisions_left: int) -> float:
    """One-sided level of the next decision when `left` of alpha is to last for `decisions_left`; 0 for none."""
    return DISCARD_ABOVE * left / (1 + DISCARD_ABOVE * (decisions_left - 1)) if decisions_left > 0 else 0.0
