"""What the latency benchmark says of targets that are missed."""

from __future__ import annotations

from benchmarks import serving_latency
from tenuto.exporting import measuring


def timing(p50_ms: float, real_time_factor: float = 0.005) -> measuring.Timing:
    return measuring.Timing(
        threads=1, p50_ms=p50_ms, p95_ms=9, p99_ms=9, real_time_factor=real_time_factor, clips_per_second={}
    )


def test_every_miss_names_its_own_limit_also_where_fp32_is_the_best() -> None:
    half = timing(5.0, 0.02)
    assert serving_latency.misses(timing(10.0), half, "fp32", half) == [
        "fp32 takes 0.50 of the pipeline's time, at most 0.4 wanted",
        "the best, fp32, takes 0.50 of the pipeline's time, at most 0.3 wanted",
        "fp32 has a real-time factor of 0.0200, at most 0.01 wanted",
    ]


def test_nothing_is_missed_at_the_limits() -> None:
    assert serving_latency.misses(timing(10.0), timing(4.0), "int8-static", timing(3.0, 0.01)) == []
