"""Outcomes of intervals, and whether the promised number of clips does what is promised."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tenuto.deciding.policy import Rule
from tenuto.deciding.thresholds import More, Threshold, more, stretch, threshold_of
from tenuto.records import Interval


def found(low: float, value: float, high: float, n: int = 1000, groups: int = 50) -> Interval:
    return Interval(value=value, low=low, high=high, n=n, groups=groups)


def of(**fields: Any) -> Threshold:
    return threshold_of(Rule(**{"name": "r", "metric": "accuracy", "severity": "hold", **fields}))


@pytest.mark.parametrize(
    ("fields", "interval", "outcome"),
    [
        ({"at_least": 0.5}, (0.5, 0.6, 0.7), "pass"),
        ({"at_least": 0.5}, (0.4, 0.45, 0.5), "inconclusive"),
        ({"at_least": 0.5}, (0.3, 0.4, 0.49), "fail"),
        ({"at_most": 0.5}, (0.3, 0.4, 0.5), "pass"),
        ({"at_most": 0.5}, (0.5, 0.6, 0.7), "inconclusive"),
        ({"at_most": 0.5}, (0.51, 0.6, 0.7), "fail"),
        ({"versus": "champion", "better_by": 0.0}, (0.0, 0.1, 0.2), "inconclusive"),
        ({"versus": "champion", "better_by": 0.0}, (0.001, 0.1, 0.2), "pass"),
        ({"versus": "champion", "better_by": 0.0}, (-0.2, -0.1, 0.0), "fail"),
        ({"versus": "champion", "better_by_percent": 5}, (0.04, 0.1, 0.2), "inconclusive"),
        ({"versus": "champion", "not_worse_by": 0.02}, (-0.02, 0.0, 0.02), "pass"),
        ({"versus": "champion", "not_worse_by": 0.02}, (-0.019, -0.01, -0.001), "fail"),  # behind, if by little
        ({"versus": "champion", "not_worse_by": 0.02}, (-0.03, -0.02, -0.001), "fail"),
        ({"versus": "champion", "not_better_by": 0.15}, (0.0, 0.1, 0.15), "pass"),
        ({"versus": "champion", "not_better_by": 0.15}, (0.0, 0.1, 0.16), "inconclusive"),
        ({"versus": "champion", "not_better_by": 0.15}, (0.16, 0.2, 0.3), "fail"),
    ],
)
def test_outcomes(fields: dict[str, Any], interval: tuple[float, float, float], outcome: str) -> None:
    assert of(**fields).outcome(found(*interval)) == outcome


def test_times_by_hand() -> None:
    floor = of(at_least=0.5)
    assert floor.times(found(0.4, 0.6, 0.8)) == pytest.approx(4)  # 0.2 below the value, 0.1 to the floor
    assert floor.times(found(0.4, 0.6, 0.8), 2) == pytest.approx(16)
    assert floor.times(found(0.3, 0.4, 0.6)) == pytest.approx(4)
    assert floor.times(found(0.3, 0.5, 0.7)) == math.inf
    assert of(at_most=0.5).times(found(0.2, 0.4, 0.6)) == pytest.approx(4)
    lag = of(versus="champion", not_worse_by=0.03)
    assert lag.times(found(-0.05, -0.01, 0.04)) == pytest.approx(4)  # 0.04 down, 0.02 to the margin
    assert lag.times(found(-0.05, -0.02, 0.02)) == pytest.approx(4)  # 0.04 up, 0.02 to being behind


def test_more_is_rounded_up_to_two_digits() -> None:
    assert more(1.2371, found(0, 0, 0), is_by_clip=False) == More(240, 12)
    assert more(1.0001, found(0, 0, 0), is_by_clip=False) == More(1, 1)
    assert more(4, found(0, 0, 0, n=1000, groups=1000), is_by_clip=True) == More(3000)
    assert more(4, found(0, 0, 0, n=100, groups=3), is_by_clip=False) == More(300)
    assert more(20.1, found(0, 0, 0), is_by_clip=False) == More(None)
    assert more(math.inf, found(0, 0, 0), is_by_clip=False) == More(None)


def test_a_stricter_level_wants_a_narrower_interval() -> None:
    assert stretch(50, 0.025, 0.025) == 1
    assert stretch(50, 0.001, 0.025) == pytest.approx(stats.t.ppf(0.999, 49) / stats.t.ppf(0.975, 49))


@pytest.mark.parametrize(("truth", "groups"), [(0.02, 20), (0.025, 30)])
def test_the_promised_number_of_groups_settles_it_in_about_half_of_the_cases(truth: float, groups: int) -> None:
    """Of simulated test sets as large as was promised when the estimate was the truth."""
    rng, clips = np.random.default_rng(3), 20

    def intervals(speakers: int, sets: int) -> list[Interval]:
        leads = (
            truth
            + 0.06 * rng.normal(size=(sets, speakers))
            + 0.25 / math.sqrt(clips) * rng.normal(size=(sets, speakers))
        )
        half = stats.t.ppf(0.975, speakers - 1) * leads.std(axis=1, ddof=1) / math.sqrt(speakers)
        return [
            found(m - h, m, m + h, speakers * clips, speakers) for m, h in zip(leads.mean(axis=1), half, strict=True)
        ]

    first = intervals(groups, 400)
    width = float(np.median([i.high - i.value for i in first]))
    better = of(versus="champion", better_by=0.0)
    times = better.times(found(truth - width, truth, truth + width, groups * clips, groups))
    promised = more(times, first[0], is_by_clip=False)
    assert promised.groups is not None and promised.clips is not None
    assert promised.clips / promised.groups == pytest.approx(clips, rel=0.15)
    before = np.mean([better.outcome(i) == "pass" for i in first])
    after = np.mean([better.outcome(i) == "pass" for i in intervals(groups + promised.groups, 2000)])
    assert before < 0.4
    assert 0.44 <= after <= 0.60
