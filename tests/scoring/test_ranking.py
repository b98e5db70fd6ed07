"""Average precision against scikit-learn and hand arithmetic; its intervals against simulated test sets."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from tenuto.scoring import ranking
from tenuto.scoring.statistics import interval, p_value, point
from tests import scenes

SKILL = {"candidate": 2.0, "champion": 2.0}


def random(ties: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    truth = rng.random((80, 3)) < 0.3
    p = rng.random((80, 3)) * 0.6 + 0.4 * truth * rng.random((80, 3))
    return truth, np.round(p, 1) if ties else p


def test_average_precision_by_hand() -> None:
    # in falling order: there, not there, there: precisions 1 and 2/3 at the two that are
    assert ranking.average_precision(np.array([True, True, False]), np.array([0.9, 0.2, 0.5])) == pytest.approx(5 / 6)
    # all alike are one threshold: the share that is there
    assert ranking.average_precision(np.array([True, False, False, False]), np.full(4, 0.3)) == 0.25
    assert np.isnan(ranking.average_precision(np.zeros(2, bool), np.array([0.1, 0.2])))


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_agrees_with_scikit_learn(ties: bool) -> None:
    truth, p = random(ties)
    for c in range(3):
        assert ranking.average_precision(truth[:, c], p[:, c]) == pytest.approx(
            average_precision_score(truth[:, c], p[:, c])
        )


@pytest.mark.parametrize("ties", [False, True])
def test_pseudo_values_are_the_mean_and_its_derivative_by_weight(ties: bool) -> None:
    truth, p = random(ties)
    whole, step = average_precision_score(truth, p, average="macro"), 1e-6
    found = ranking.pseudo_values(truth, p)
    assert found.mean() == pytest.approx(whole)
    for clip in range(0, 80, 9):
        weights = np.ones(80)
        weights[clip] += step
        moved = average_precision_score(truth, p, average="macro", sample_weight=weights)
        assert (found[clip] - whole) / 80 == pytest.approx((moved - whole) / step, abs=1e-6)


def test_a_class_that_never_occurs_does_not_count() -> None:
    truth, p = random(ties=False)
    without = np.column_stack([truth, np.zeros(80, bool)])
    found = ranking.pseudo_values(without, np.column_stack([p, p[:, 0]]))
    np.testing.assert_allclose(found, ranking.pseudo_values(truth, p))


def test_a_perfect_order_is_no_proof_of_perfection() -> None:
    answers = scenes.answers(np.random.default_rng(2), 6, 10, {"candidate": 40.0})
    assert point(answers, "mean_average_precision", "candidate") == 1
    found = interval(answers, "mean_average_precision", "candidate", rng=np.random.default_rng(0))
    assert found.value == found.high == 1
    assert 0.3 < found.low < 0.9
    assert p_value(answers, "mean_average_precision", "candidate", threshold=0.999) > 0.05


def coverage(sets: int, sites: int, clips: int, resamples: int) -> tuple[float, float]:
    """Share of simulated test sets whose interval holds the population's mean average precision, and a lead of 0."""
    rng = np.random.default_rng(17)
    truth = np.mean([point(scenes.answers(rng, 400, 50, SKILL), "mean_average_precision", "candidate") for _ in "abc"])
    hits = np.zeros(2)
    for _ in range(sets):
        answers = scenes.answers(rng, sites, clips, SKILL)
        for i, (versus, value) in enumerate(((None, truth), ("champion", 0.0))):
            found = interval(
                answers, "mean_average_precision", "candidate", versus=versus, resamples=resamples, rng=rng
            )
            hits[i] += found.low <= value <= found.high
    return float(hits[0] / sets), float(hits[1] / sets)


def test_intervals_cover_the_truth() -> None:
    score, lead = coverage(150, 20, 20, 300)
    assert 0.90 <= score <= 0.99
    assert 0.90 <= lead <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize(("sites", "clips"), [(12, 20), (50, 10), (300, 1)])
def test_intervals_cover_the_truth_in_a_long_run(sites: int, clips: int) -> None:
    score, lead = coverage(1000, sites, clips, 1000)
    assert 0.93 <= score <= 0.98
    assert 0.93 <= lead <= 0.98
