"""The gate's sentences, word by word."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tenuto.policy import Rule
from tenuto.records import Interval
from tenuto.slices import Slice, Slices
from tenuto.wording import sentence, slice_name, too_little


def rule(**fields: Any) -> Rule:
    return Rule(**{"name": "r", "metric": "macro_f1", "severity": "hold", **fields})


SCORE = Interval(value=0.962, low=0.948, high=0.974, n=1000, groups=1000, resampled="2 speakers' clips")
LEAD = Interval(value=-0.01, low=-0.0221, high=0.002, n=1000, groups=12, resampled="12 speakers")
SEVEN = Slice("class 'seven'", np.ones(64, dtype=bool), "seven")


@pytest.mark.parametrize(
    ("outcome", "end"),
    [
        ("pass", "is above the floor 0.60"),
        ("fail", "is below the floor 0.60"),
        ("inconclusive", "may lie on either side of the floor 0.60: more test clips would tell"),
    ],
)
def test_a_floor(outcome: str, end: str) -> None:
    said = sentence(rule(at_least=0.6), outcome, SCORE, (0.962, None), 0.95, "")
    assert said == f"macro-F1 0.962 (95 % 0.948-0.974, resampled by 2 speakers' clips) {end}"


@pytest.mark.parametrize(
    ("fields", "outcome", "end"),
    [
        ({"better_by": 0.0}, "pass", "better"),
        ({"better_by": 0.025}, "fail", "not better by more than 0.025"),
        ({"better_by": 0.0}, "inconclusive", "not shown to be better"),
        ({"not_worse_by": 0.02}, "pass", "not worse by more than 0.02"),
        ({"not_worse_by": 0.02}, "fail", "worse"),
        ({"not_worse_by": 0.0}, "inconclusive", "which leaves open whether it is worse by more than 0.00"),
    ],
)
def test_another_model(fields: dict[str, float], outcome: str, end: str) -> None:
    compared = rule(versus="champion", metric="accuracy", **fields)
    said = sentence(compared, outcome, LEAD, (0.952, 0.962), 0.9, "")
    figures = "difference -0.010 (90 % -0.022 to +0.002, resampled by 12 speakers)"
    assert said == f"accuracy 0.952 against 0.962 of the champion: {figures}, {end}"


def test_the_slice_comes_first() -> None:
    worst = rule(metric="recall", of="worst class", at_least=0.5)
    assert slice_name(worst, SEVEN, 10) == "worst of 10, class 'seven' (64 clips): "
    assert slice_name(rule(metric="recall", of="class=seven", at_least=0.5), SEVEN, 1) == "class 'seven' (64 clips): "
    assert slice_name(rule(at_least=0.5), Slice("", np.ones(3, dtype=bool)), 1) == ""


def test_too_few_clips_says_how_many_and_what_to_do() -> None:
    few = Slices((), tuple(Slice(f"class 'c{i}'", np.ones(i, dtype=bool), f"c{i}") for i in range(7)))
    said = too_little(rule(metric="recall", of="worst class", at_least=0.5, min_clips=10), few)
    assert said == (
        "too few test clips to tell: class 'c0' (0), class 'c1' (1), class 'c2' (2), class 'c3' (3), class 'c4' (4) "
        "and 2 more; the rule wants 10. Add test clips, or lower its min_clips in the promotion policy."
    )


def test_too_few_clips_over_all() -> None:
    few = Slices((), (Slice("", np.ones(3, dtype=bool)),))
    assert "too few test clips to tell: the test set (3); the rule wants 5" in too_little(
        rule(at_least=0.5, min_clips=5), few
    )
