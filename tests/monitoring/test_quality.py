"""Accuracy from feedback, and when it counts as having dropped."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tenuto.monitoring import drift, quality
from tests.monitoring import traffic

REFERENCE = traffic.reference(np.random.default_rng(0))
SERVED = traffic.served(np.random.default_rng(1), 200)


def test_accuracy_has_wilsons_interval() -> None:
    found = quality.accuracy(traffic.with_feedback(SERVED, right=45, wrong=5))
    assert found is not None
    # by hand: centre (p + z^2/2n) / (1 + z^2/n), half the width z sqrt(p q/n + z^2/4n^2) / (1 + z^2/n)
    z, n, p = 1.959964, 50, 0.9
    centre, spread = (p + z**2 / (2 * n)), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    ends = (np.array([centre - spread, centre + spread]) / (1 + z**2 / n)).tolist()
    assert (found.value, found.n) == (0.9, 50)
    assert [found.low, found.high] == pytest.approx(ends, abs=1e-6)


def test_clips_that_were_chosen_because_they_are_hard_say_nothing_of_accuracy() -> None:
    frame = traffic.with_feedback(SERVED, right=45, wrong=5)
    is_wrong = frame["true_label"].notna() & (frame["label"] != frame["true_label"])
    frame.loc[is_wrong, "label_source"] = "label queue: ann"
    found = quality.accuracy(frame)
    assert found is not None
    assert (found.value, found.n) == (1.0, 45)


def test_without_feedback_there_is_no_accuracy_and_no_drop() -> None:
    assert quality.accuracy(SERVED) is None
    assert quality.drop(REFERENCE, SERVED, 0.05) is None


def test_a_drop_has_the_p_value_of_the_one_sided_exact_test() -> None:
    found = quality.drop(REFERENCE, traffic.with_feedback(SERVED, right=30, wrong=20), 0.05)
    validation = REFERENCE[REFERENCE["split"] == "validation"]
    right = int((validation["predicted"] == validation["label"]).sum())
    # 30 or fewer right ones among 50 of all, when all are alike
    wanted = stats.hypergeom.cdf(30, len(validation) + 50, right + 30, 50)
    assert found is not None
    assert found.p_value == pytest.approx(wanted)
    assert found.size == pytest.approx(right / len(validation) - 0.6)
    assert drift.judged([found], 0.01)[0].is_found


def test_few_mistakes_among_few_labels_are_no_drop() -> None:
    found = quality.drop(REFERENCE, traffic.with_feedback(SERVED, right=7, wrong=3), 0.05)
    assert found is not None
    assert found.size > 0.05
    assert not drift.judged([found], 0.01)[0].is_found


def test_unknown_is_right_when_the_clip_was_of_no_class() -> None:
    frame = SERVED.head(2).assign(label="unknown", true_label=["unknown", "high"])
    found = quality.accuracy(frame)
    assert found is not None
    assert found.value == 0.5


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    ends = []
    for right in range(41):
        found = quality.accuracy(traffic.with_feedback(SERVED, right, 40 - right))
        assert found is not None
        ends.append((found.low, found.high))
    truths = np.linspace(0.6, 0.95, 15)
    covered = [
        sum(stats.binom.pmf(right, 40, truth) for right, (low, high) in enumerate(ends) if low <= truth <= high)
        for truth in truths
    ]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.01)
