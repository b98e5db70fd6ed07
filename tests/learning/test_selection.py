"""Scores on the validation split by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tenuto.learning import selection


def test_scores_by_hand() -> None:
    logits = np.log([[0.5, 0.5], [0.25, 0.75], [0.9, 0.1]])
    scores = selection.score(logits, np.array([0, 1, 1]))
    assert scores.macro_f1 == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert scores.log_loss == pytest.approx(-np.log([0.5, 0.75, 0.1]).mean())


def test_the_log_loss_decides_between_equals_only() -> None:
    assert selection.Scores(0.9, 0.1).selection > selection.Scores(0.9, 0.2).selection
    assert selection.Scores(0.91, 9.0).selection > selection.Scores(0.9, 0.0).selection


def test_what_the_clips_can_tell_apart_is_told_by_macro_f1_and_the_rest_by_the_log_loss() -> None:
    """100 clips of two classes: 90 or 88 right differ by less than the standard error of 0.03, 90 or 80 by more."""
    truth = np.arange(100) % 2

    def answers(right: int, margin: float) -> np.ndarray:
        said = np.where(np.arange(100) < right, truth, 1 - truth)
        # the sure answers are the right ones, or all are as sure as one another
        sure = np.where(np.arange(100) < right, margin, 1.0)
        return np.stack([np.where(said == 0, sure, 0.0), np.where(said == 1, sure, 0.0)], axis=1)

    assert selection.is_better(answers(88, 3.0), answers(90, 1.0), truth), "few errors of low confidence"
    assert not selection.is_better(answers(90, 1.0), answers(88, 3.0), truth)
    assert not selection.is_better(answers(80, 3.0), answers(90, 1.0), truth)
    assert selection.is_better(answers(90, 1.0), answers(80, 3.0), truth)
    assert not selection.is_better(answers(90, 1.0), answers(90, 1.0), truth), "what is no better does not replace"
    assert not selection.is_better(answers(90, 2.0), 5 * answers(90, 2.0), truth), "how sure either is may be mended"
