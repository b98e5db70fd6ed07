"""A look: what it comes to, what it may spend on false alarms, and what is kept of it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tenuto.monitoring import looks
from tenuto.monitoring.looks import Look
from tenuto.settings import MonitorSettings
from tests.monitoring import traffic

NOW = traffic.NOW
REFERENCE = traffic.reference(np.random.default_rng(0))
SERVED = traffic.served(np.random.default_rng(1), 200)


def look(served: pd.DataFrame = SERVED, *earlier: Look, new_labels: int = 0) -> Look:
    named = {"model": "bells", "version": "1", "now": NOW}
    return looks.look(REFERENCE, served, MonitorSettings(), earlier, new_labels=new_labels, **named)


def test_clean_traffic_is_steady() -> None:
    found = look()
    assert (found.status, found.clips, found.found, found.level) == ("steady", 200, (), 0.01)
    assert looks.sentences(found) == ["Version 1 heard 200 clips in 7 days, like those it was made from."]


def test_drift_is_named_with_its_figures() -> None:
    found = look(SERVED.assign(level_dbfs=SERVED["level_dbfs"] - 6))
    assert (found.status, found.found) == ("drift", ("level",))
    assert looks.sentences(found)[1].startswith("How loud the clips are changed: -2")


def test_a_drop_of_quality_weighs_more_than_drift() -> None:
    quiet = SERVED.assign(level_dbfs=SERVED["level_dbfs"] - 6)
    found = look(traffic.with_feedback(quiet, right=30, wrong=30))
    assert (found.status, found.found) == ("quality dropped", ("level", "quality"))


def test_clips_before_the_period_and_shadow_answers_are_not_counted() -> None:
    old = SERVED.assign(at=SERVED["at"] - timedelta(days=30))
    shadow = SERVED.assign(is_shadow=True, level_dbfs=-60.0)
    found = look(pd.concat([old, shadow, SERVED]))
    assert (found.status, found.clips) == ("steady", 200)


def with_streams(rng: np.random.Generator, clips: pd.DataFrame) -> pd.DataFrame:
    """The clips and half as many windows of streams, noted where a stream changed: equally long, and in doubt."""
    windows = traffic.served(rng, len(clips) // 2).assign(is_window=True, duration_seconds=1.28)
    windows["probability"] = 0.5 + (windows["probability"] - 0.5) / 2
    return pd.concat([clips, windows], ignore_index=True)


def test_streams_are_no_drift() -> None:
    mixed = with_streams(np.random.default_rng(2), SERVED)
    assert look(mixed.assign(is_window=False)).found == ("duration", "confidence"), "or there is nothing to leave out"
    assert look(mixed).model_dump() == look().model_dump()


@pytest.mark.slow
def test_fifty_clean_weeks_with_streams_raise_at_most_three_alarms() -> None:
    rng = np.random.default_rng(13)
    weeks = (with_streams(rng, traffic.served(rng, 200)) for _ in range(50))
    assert sum(bool(look(week).found) for week in weeks) <= 3


def test_too_few_clips_are_not_judged_yet_labels_are() -> None:
    few = SERVED.head(49)
    assert look(few).status == "too few clips"
    assert look(few).signals == ()
    assert look(traffic.with_feedback(few, right=10, wrong=39)).status == "quality dropped"


def test_nothing_served_is_no_error() -> None:
    found = look(SERVED.head(0))
    assert (found.status, found.clips, found.unknown, found.accuracy) == ("too few clips", 0, None, None)


def test_enough_new_labels_are_told() -> None:
    assert not look(new_labels=49).has_enough_labels
    assert look(new_labels=50).has_enough_labels
    assert "50 new labels came back, enough for a retrain." in looks.sentences(look(new_labels=50))


@pytest.mark.parametrize(
    ("days_ago", "share"), [(None, 1.0), (30, 1.0), (7, 1.0), (1, 1 / 7), (0.01, 1 / 7), (3.5, 0.5)]
)
def test_a_look_may_alarm_falsely_in_proportion_to_the_time_since_the_last(
    days_ago: float | None, share: float
) -> None:
    last = None if days_ago is None else NOW - timedelta(days=days_ago)
    assert looks.spent(MonitorSettings(), last, NOW) == pytest.approx(0.01 * share)


def test_what_was_told_is_not_news_until_it_goes_away_and_comes_again() -> None:
    quiet = SERVED.assign(level_dbfs=SERVED["level_dbfs"] - 6)
    before = looks.after_telling(look(quiet), [], is_heard=True)
    assert looks.news(before, []) == before.told == ("level",)
    now = look(quiet.assign(duration_seconds=2 * quiet["duration_seconds"]), before)
    assert now.found == ("duration", "level")
    assert looks.news(now, [before]) == ("duration",)
    assert looks.news(now, [before, look()]) == ("duration", "level"), "it went away and came again"


def test_what_nobody_heard_of_stays_news() -> None:
    quiet = look(SERVED.assign(level_dbfs=SERVED["level_dbfs"] - 6))
    told = looks.after_telling(quiet, [], is_heard=True)
    longer = look(SERVED.assign(level_dbfs=-60.0, duration_seconds=2 * SERVED["duration_seconds"]))
    unheard = looks.after_telling(longer, [told], is_heard=False)
    assert unheard.told == ("level",)
    assert "duration" in looks.news(longer, [told, unheard])
    assert looks.after_telling(quiet, [], is_heard=False).told == ()


def test_looks_are_kept_per_version_and_half_a_line_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "state" / "monitor.jsonl"
    first, second = look(), look().model_copy(update={"version": "2"})
    looks.keep(path, first)
    with path.open("a") as file:
        file.write('{"at": "2026-')
    looks.keep(path, second)
    assert looks.read(path, "bells", "1") == [first]
    assert looks.read(path, "bells", "2") == [second]
    assert looks.read(path, "gongs", "1") == []
    assert looks.read(tmp_path / "none.jsonl", "bells", "1") == []


def test_labels_count_from_the_look_that_told_of_enough_whichever_version_it_was_of(tmp_path: Path) -> None:
    path = tmp_path / "monitor.jsonl"
    assert looks.labels_told_at(path, "bells") is None
    looks.keep(path, looks.after_telling(look(new_labels=60), [], is_heard=True))
    for version, labels, is_heard in (("2", 0, True), ("1", 60, False)):
        later = look(new_labels=labels).model_copy(update={"version": version, "at": NOW + timedelta(days=1)})
        looks.keep(path, looks.after_telling(later, [], is_heard=is_heard))
    assert looks.labels_told_at(path, "bells") == NOW
