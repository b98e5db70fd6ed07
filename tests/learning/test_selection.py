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
