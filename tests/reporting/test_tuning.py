"""The page of a search: its picture, its order and its lines of params.yaml, by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tenuto.learning.tuning.study import Trial
from tenuto.reporting import tuning


def trial(number: int, f1: float | None, **more: Any) -> Trial:
    settings = {} if number == 1 else {"finetune.probe_c": 0.12345, "model.head": "mlp"}
    values: dict[str, Any] = {"settings": settings, "is_present": number == 1, "state": "complete", "seconds": 1.5}
    return Trial(number=number, macro_f1=f1, log_loss=None if f1 is None else 0.5, **(values | more))


TRIALS = (
    trial(1, 0.8),
    trial(2, 0.2, state="pruned", reason="below the median after epoch 2"),
    trial(3, 0.85),
    trial(4, None, state="pruned", reason="<b>do not go together</b>"),
    trial(5, 0.9),
)


def test_the_picture_goes_from_the_present_or_middle_score_to_the_best() -> None:
    history = tuning.history(TRIALS, best=TRIALS[4], present=TRIALS[0])
    # scores 0.2, 0.8, 0.85, 0.9: the present one is lowest, and 8 % of 0.1 are less than the least room of 0.01
    assert (history.low, history.high) == (pytest.approx(0.79), pytest.approx(0.91))
    assert [(dot.x, dot.kind) for dot in history.dots] == [
        (0.0, "present"),
        (0.25, "pruned"),
        (0.5, "complete"),
        (1.0, "best"),
    ]
    assert [dot.y for dot in history.dots] == pytest.approx([1 / 12, 0.0, 0.5, 11 / 12])
    assert history.below == 1
    low, middle, high = 1 / 12, 0.5, 11 / 12
    steps = [(0.0, low), (0.5, low), (0.5, middle), (1.0, middle), (1.0, high), (1.0, high)]
    assert [value for step in history.steps for value in step] == pytest.approx([v for step in steps for v in step])


def test_the_best_comes_first_and_the_pruned_last_in_their_order() -> None:
    assert [trial.number for trial in tuning.ranked(TRIALS)] == [5, 3, 1, 2, 4]


def test_settings_become_lines_of_params_yaml() -> None:
    settings = {"finetune.probe_c": 0.5, "model.head": "mlp", "finetune.unfreeze": 2, "imbalance.sample_by": ["label"]}
    assert tuning.lines(settings) == [
        "finetune:",
        "  probe_c: 0.5",
        "  unfreeze: 2",
        "model:",
        "  head: mlp",
        "imbalance:",
        '  sample_by: ["label"]',
    ]
    assert [tuning.value(what) for what in (0.00012345, 1.0, "mlp", None, True, ["a"])] == [
        "0.000123",
        "1",
        "mlp",
        "null",
        "true",
        '["a"]',
    ]


@pytest.mark.parametrize(("best", "headline"), [(4, "Trial 5 did better"), (0, "The present settings stay")])
def test_the_page_says_what_came_of_it_and_escapes_what_it_is_told(tmp_path: Path, best: int, headline: str) -> None:
    inputs = tuning.TuneInputs(
        name="digits",
        on="finetune",
        started_at=datetime(2026, 3, 2, tzinfo=UTC),
        trials=TRIALS,
        best=TRIALS[best],
        present=TRIALS[0],
        importances={"model.head": 0.75, "finetune.probe_c": 0.25},
        study="abc",
        mlflow_run="def",
    )
    page = tuning.write(inputs, tmp_path / "tune" / "page.html").read_text(encoding="utf-8")
    assert headline in page and "75 %" in page
    assert "&lt;b&gt;do not go together" in page and "<b>do not" not in page
    assert ("probe_c: 0.12345" in page) == (best == 4)
    assert [path.name for path in (tmp_path / "tune").iterdir()] == ["page.html"]
