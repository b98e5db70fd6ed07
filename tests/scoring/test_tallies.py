"""Losses against scikit-learn and `tenuto.scoring.metrics`; what every metric has in common."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from tenuto.scoring import metrics
from tenuto.scoring.samples import sampled
from tenuto.scoring.statistics import interval_of, p_of, point
from tenuto.scoring.tallies import LOSSES, METRICS, Answers
from tenuto.scoring.unseen import Term

EVERY_METRIC = (*METRICS, *LOSSES)
LABELS = ("a", "b", "c")


def imagined(seed: int, clips: int = 120, speakers: int = 8) -> Answers:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, len(LABELS), clips)
    probabilities = {}
    for model, skill in (("x", 1.5), ("y", 1.0)):
        odds = np.exp(rng.normal(size=(clips, len(LABELS))) + skill * np.eye(len(LABELS))[truth])
        probabilities[model] = odds / odds.sum(axis=1, keepdims=True)
    predicted = {model: p.argmax(axis=1) for model, p in probabilities.items()}
    return Answers(LABELS, truth, predicted, rng.integers(0, speakers, clips), "speaker", probabilities)


def test_losses_agree_with_independent_references() -> None:
    answers = imagined(1)
    p, truth = answers.probabilities["x"], answers.truth
    assert point(answers, "log_loss", "x") == pytest.approx(log_loss(truth, p))
    assert point(answers, "brier", "x") == pytest.approx(np.mean(((p - np.eye(3)[truth]) ** 2).sum(axis=1)))
    expected = metrics.expected_calibration_error(truth, p)
    assert point(answers, "expected_calibration_error", "x") == pytest.approx(expected)


def test_certainty_that_is_wrong_costs_a_finite_loss() -> None:
    certain = {"x": np.array([[0.0, 1.0, 0.0]])}
    answers = Answers(LABELS, np.array([0]), {"x": np.array([1])}, np.array([0]), "clip", certain)
    assert point(answers, "log_loss", "x") == pytest.approx(36.04, abs=0.01)
    assert point(answers, "brier", "x") == 2


@pytest.mark.parametrize("metric", EVERY_METRIC)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_order_of_the_clips_and_the_names_of_the_units_do_not_matter(metric: str, seed: int) -> None:
    answers = imagined(seed)
    order = np.random.default_rng(seed).permutation(len(answers.truth))
    moved = answers.where(order)  # type: ignore[arg-type]  # an index is as good as a mask
    moved = Answers(LABELS, moved.truth, moved.predicted, 7 - moved.units, "speaker", moved.probabilities)
    terms = [Term("x"), Term("y", weight=-1.0)]
    here, there = sampled(answers, metric, terms), sampled(moved, metric, terms)
    assert here.value == pytest.approx(there.value)
    assert p_of(here, 0.01) == pytest.approx(p_of(there, 0.01))


@pytest.mark.parametrize("metric", EVERY_METRIC)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_swapping_the_models_turns_the_sign(metric: str, seed: int) -> None:
    answers = imagined(seed)
    there = sampled(answers, metric, [Term("x"), Term("y", weight=-1.0)])
    back = sampled(answers, metric, [Term("y"), Term("x", weight=-1.0)])
    assert back.value == pytest.approx(-there.value)
    assert p_of(back, -0.02) == pytest.approx(p_of(there, 0.02, is_below=True))


@pytest.mark.parametrize("metric", EVERY_METRIC)
def test_a_gap_is_the_difference_of_two_slices_and_a_model_has_none_to_itself(metric: str) -> None:
    answers = imagined(3)
    half = np.arange(120) < 60
    gap = sampled(answers, metric, [Term("x", mask=half), Term("x", mask=~half, weight=-1.0)])
    apart = point(answers.where(half), metric, "x") - point(answers.where(~half), metric, "x")
    assert gap.value == pytest.approx(apart)
    assert sampled(answers, metric, [Term("x"), Term("x", weight=-1.0)]).value == 0


@pytest.mark.parametrize("metric", EVERY_METRIC)
def test_an_interval_holds_its_value_and_stays_within_what_there_is(metric: str) -> None:
    for clips, speakers in ((6, 6), (40, 2), (200, 12)):
        sample = sampled(imagined(5, clips, speakers), metric, [Term("x")])
        found = interval_of(sample, confidence=0.95, resamples=200, rng=np.random.default_rng(0))
        assert 0 <= found.low <= found.value <= found.high <= sample.bounds[1] + 1e-9
