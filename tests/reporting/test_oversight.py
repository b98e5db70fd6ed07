"""What is left of a test set after a decision, and the golden clips beside the test clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tenuto.records import Account, Evaluation, Interval, RegisteredModel, Verdict
from tenuto.reporting import oversight


def verdict(used: int = 10, p_value: float | None = 0.31, **account: Any) -> Verdict:
    known = {"holdout": "1", "alpha": 0.05, "decisions": 52, "used": used, "level": 0.00096, "left": 0.8}
    return Verdict(
        verdict="reject", reasons=("no",), rules=(), account=Account(**{**known, **account}), p_value=p_value
    )


def after(*arguments: Any, **account: Any) -> oversight.TestSet:
    found = oversight.test_set(verdict(*arguments, **account))
    assert found is not None
    return found


def test_a_decision_that_asked_is_counted() -> None:
    found = after()
    assert (found.left, found.used, found.tone, found.advice) == (41, 11, "good", "")
    assert found.share_left == pytest.approx(41 / 52)
    assert found.sentence == "41 of 52 decisions left on test set 1"
    assert found.taken == "This decision was taken at p 0.31 and missed its level 0.00096."
    assert "met its level" in after(10, 0.0005).taken


def test_a_decision_that_did_not_ask_is_free() -> None:
    found = after(10, None)
    assert found.left == 42
    assert found.taken.startswith("This decision used none of them")


@pytest.mark.parametrize(("used", "tone"), [(40, "good"), (41, "hold"), (50, "hold"), (51, "bad"), (60, "bad")])
def test_a_fresh_test_set_is_advised_in_time(used: int, tone: str) -> None:
    found = after(used)  # one more is used by this decision; 10 of 52 is the last fifth
    assert found.tone == tone
    assert ("tenuto holdout rotate" in found.advice) == (tone != "good")


def test_a_worn_out_test_set_says_so() -> None:
    found = after(20, 0.0001, level=0.0, left=0.0)
    assert (found.left, found.tone) == (0, "bad")
    assert found.taken.startswith("This decision came too late: it was taken at p 0.0001")
    assert found.advice.startswith("Nothing more can be shown on these clips")


def test_without_an_account_there_is_nothing_to_show() -> None:
    assert oversight.test_set(Verdict(verdict="reject", reasons=("no",), rules=())) is None


CHAMPION = RegisteredModel(name="digits", version="6", aliases=("champion",))


def scored(n: int, **models: float) -> Evaluation:
    return Evaluation(
        probabilities_path=Path("none"),
        labels=("a",),
        metrics={model: {} for model in models},
        per_class={},
        per_group={},
        gaps={},
        confusion={},
        intervals={m: Interval(value=v, low=v - 0.1, high=v + 0.1, n=n, groups=n) for m, v in models.items()},
    )


def test_candidate_and_champion_are_set_beside_themselves() -> None:
    test, frozen = scored(100, candidate=0.9, baseline=0.5, champion=0.8), scored(40, candidate=0.7, champion=0.75)
    found = oversight.golden(test, frozen, CHAMPION)
    assert found is not None
    assert [(r.key, r.version, r.test.value, r.golden.value) for r in found.rows] == [
        ("candidate", "", 0.9, 0.7),
        ("champion", "6", 0.8, 0.75),
    ]
    assert found.clips == 40
    assert found.lead is None


def test_a_champion_that_is_not_scored_has_no_row() -> None:
    found = oversight.golden(scored(9, candidate=0.9, champion=0.8), scored(9, candidate=0.7), CHAMPION)
    assert found is not None
    assert [row.key for row in found.rows] == ["candidate"]


def test_without_golden_clips_there_is_nothing_to_show() -> None:
    assert oversight.golden(scored(9, candidate=0.9), None, None) is None
    assert oversight.golden(None, scored(9, candidate=0.9), None) is None
    assert oversight.golden(scored(9, candidate=0.9), scored(9, champion=0.9), None) is None
