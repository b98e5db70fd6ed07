"""The benchmark of the intervals' coverage, in short; the whole of it is marked slow."""

from __future__ import annotations

import pytest

from benchmarks import coverage

SOME = ("accuracy", "macro-F1", "macro-F1, difference")


@pytest.fixture(scope="module")
def truth() -> dict[str, float]:
    return coverage.truths(200_000)


def test_intervals_by_speaker_cover_and_intervals_by_clip_do_not(truth: dict[str, float]) -> None:
    some = {name: truth[name] for name in SOME}
    by_speaker = coverage.coverage(20, 80, 200, lambda answers: answers, some)
    assert all(0.87 <= share <= 1.0 for share in by_speaker.values()), by_speaker
    by_clip = coverage.coverage(20, 40, 100, coverage.by_clip, some)
    assert all(share < 0.95 for share in by_clip.values()) and by_clip["accuracy"] < 0.8, by_clip


def test_a_comparison_on_ten_thousand_clips_is_timed() -> None:
    assert coverage.seconds(50, "macro_f1", resamples=1000, runs=1) > 0


def test_times_without_draws_are_marked() -> None:
    assert coverage.is_drawn(2_500, "brier")
    assert coverage.is_drawn(10_000, "accuracy")  # ten thousand clips, a handful of outcomes
    assert not coverage.is_drawn(10_000, "brier")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("speakers", [8, 12, 20, 50])
def test_coverage_in_a_long_run(speakers: int) -> None:
    truth = {name: value for name, value in coverage.truths().items() if name not in coverage.BIASED}
    found = coverage.coverage(speakers, 1000, 1000, lambda answers: answers, truth)
    assert all(0.93 <= share <= 0.97 for share in found.values()), found
