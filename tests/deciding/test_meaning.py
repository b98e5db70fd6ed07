"""What a policy's rules are said to mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tenuto.deciding import meaning
from tenuto.deciding.policy import Policy, Rule, load_policy


def rule(**fields: Any) -> Rule:
    return Rule.model_validate({"name": "r", "metric": "macro_f1", "severity": "reject", **fields})


@pytest.mark.parametrize(
    ("fields", "demand"),
    [
        ({"at_least": 0.6}, "macro-F1 on all test clips is at least 0.6"),
        (
            {"metric": "recall", "of": "class=seven", "at_least": 0.5},
            "recall of class 'seven' is at least 0.5",
        ),
        (
            {"metric": "accuracy", "of": "worst group=site", "at_least": 0.5},
            "accuracy in the worst site is at least 0.5",
        ),
        ({"of": "noise=under 10 dB", "at_least": 0.5}, "macro-F1 where noise is 'under 10 dB' is at least 0.5"),
        ({"metric": "log_loss", "at_most": 0.9}, "log loss on all test clips is at most 0.9"),
        ({"versus": "champion", "better_by": 0.0}, "macro-F1 on all test clips is better than that of the champion"),
        (
            {"versus": "champion", "better_by_percent": 5},
            "macro-F1 on all test clips is better than that of the champion by more than 5 %",
        ),
        (
            {"versus": "baseline", "not_worse_by": 0.02},
            "macro-F1 on all test clips is not worse than that of the from-scratch baseline by more than 0.02",
        ),
        (
            {"versus": "champion", "not_better_by": 0.2},
            "macro-F1 on all test clips is not better than that of the champion by more than 0.2, which would smell of "
            "a leak",
        ),
        (
            {"of": "site=a", "minus": "site=b", "at_most": 0.1},
            "macro-F1 where site is 'a', less that where site is 'b', is at most 0.1",
        ),
    ],
)
def test_what_a_rule_demands(fields: dict[str, Any], demand: str) -> None:
    assert meaning.demand(rule(**fields)) == demand


@pytest.mark.parametrize(
    ("fields", "consequence"),
    [
        ({}, "Failed, the candidate is refused; undecided, nothing is registered."),
        ({"undecided": "hold"}, "Failed, the candidate is refused; undecided, it is a challenger."),
        ({"severity": "hold"}, "Failed, it is a challenger at most; undecided, too."),
        (
            {"severity": "hold", "claim": "better"},
            "Failed, it is a challenger at most; undecided, too. Any rule of claim 'better' is enough.",
        ),
    ],
)
def test_what_follows(fields: dict[str, Any], consequence: str) -> None:
    assert meaning.consequence(rule(at_least=0.5, **fields)) == consequence


def test_what_holds_for_all() -> None:
    better = rule(versus="champion", better_by=0.0)
    told = dict(meaning.sentences(Policy(rules=(better,), approval="person")))
    assert list(told) == ["r", "licences", "approval", "wear"]
    assert told["approval"] == "A candidate that passes waits for `tenuto approve`."
    assert told["wear"].startswith("A test set serves for 52 decisions;") and told["wear"].endswith("at most 5 %.")
    assert dict(meaning.sentences(Policy()))["wear"].startswith("No rule asks whether")


def test_the_default_policy_can_be_told(project_root: Path) -> None:
    policy = load_policy(project_root / "mlflow" / "promotion.yaml")
    assert len(meaning.sentences(policy)) == len(policy.rules) + 3
