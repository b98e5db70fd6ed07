"""The page of a look: what it says, and how the trends are drawn."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tenuto.monitoring import looks
from tenuto.monitoring.looks import Look
from tenuto.reporting import monitoring
from tenuto.settings import MonitorSettings
from tests.monitoring import traffic

REFERENCE = traffic.reference(np.random.default_rng(0))
SERVED = traffic.served(np.random.default_rng(1), 200)
ROLLBACK = 'tenuto rollback --reason "x"'


def history(served: pd.DataFrame) -> list[Look]:
    """A steady look, and one a week later at `served`."""
    named = {"model": "bells & <whistles>", "version": "1", "new_labels": 0}
    first = looks.look(REFERENCE, SERVED, MonitorSettings(), [], now=traffic.NOW, **named)
    later = traffic.NOW + timedelta(days=7)
    at = served.assign(at=served["at"] + timedelta(days=7))
    return [first, looks.look(REFERENCE, at, MonitorSettings(), [first], now=later, **named)]


def page(tmp_path: Path, found: list[Look]) -> str:
    advice = f"`{ROLLBACK}` returns to version 4."
    return monitoring.write(found, tmp_path / "pages" / "a.html", advice=advice).read_text()


def test_a_steady_page_names_every_signal_and_loads_nothing(tmp_path: Path) -> None:
    text = page(tmp_path, history(SERVED))
    assert "Steady" in text
    for name in ("Duration", "Level", "Labels", "Sound", "Confidence", "Novelty", "Unknown"):
        assert f"{name}<small>" in text
    assert "bells &amp; &lt;whistles&gt;" in text
    assert "://" not in text
    assert "src=" not in text
    assert "rollback" not in text


def test_a_drop_of_quality_comes_with_the_advice(tmp_path: Path) -> None:
    text = page(tmp_path, history(traffic.with_feedback(SERVED, right=30, wrong=30)))
    assert "Quality dropped" in text
    assert "<code>tenuto rollback --reason &#34;x&#34;</code> returns to version 4." in text


def test_trends_are_in_multiples_of_what_is_large_and_stay_in_the_picture() -> None:
    found = history(SERVED.assign(level_dbfs=-80.0))
    (level,) = [signal for signal in found[-1].signals if signal.name == "level"]
    dots = monitoring.trend(level, found).dots
    assert [dot.x for dot in dots] == [0.0, 1.0]
    assert dots[0].y == pytest.approx(found[0].signals[1].size / 0.2 / 2)
    assert (dots[1].y, dots[1].is_found) == (1.0, True)


def test_a_first_look_stands_in_the_middle(tmp_path: Path) -> None:
    found = history(SERVED)[:1]
    assert [dot.x for dot in monitoring.trend(found[0].signals[0], found).dots] == [0.5]
    assert "Steady" in page(tmp_path, found)


def test_a_page_of_nothing_served_can_be_written(tmp_path: Path) -> None:
    text = page(tmp_path, history(SERVED.head(0))[1:])
    assert "Too few clips" in text
    assert "No label came back yet" in text
