"""The last section of a version's description: what `tenuto bench` measured, each way of serving it side by side."""

from __future__ import annotations

from collections.abc import Sequence

from tenuto.exporting.measuring import Measured
from tenuto.reporting.card.markdown import inline
from tenuto.reporting.card.template import description

_HEADING = "## Timed by `tenuto bench`"


def with_timing(card: str, ways: Sequence[Measured], *, clip_seconds: float, load_average: float, run_id: str) -> str:
    """The description of a version with these figures in place of those of an earlier measurement.

    Other sections are left out from the end on where MLflow's database has no room for all.
    """
    section = _section(ways, clip_seconds, load_average)
    others = card.partition(_HEADING)[0].rstrip()
    return description(others, run_id, room_for=section).rstrip() + section


def _section(ways: Sequence[Measured], clip_seconds: float, load_average: float) -> str:
    rows = [
        f"| {way.way} | {timing.threads} | {timing.p50_ms:.2f} ms | {timing.p95_ms:.2f} ms "
        f"| {timing.real_time_factor:.4f} | {way.size_mb:.1f} MB | {way.peak_memory_mb:.0f} MB |"
        for way in ways
        for timing in way.timings
    ]
    lines = [
        "",
        "",
        _HEADING,
        "",
        f"Clips of {clip_seconds:g} s, one at a time, each way in a process of its own and in turns, at a load average "
        f"of {load_average:.1f}.",
        "",
        "| Way | Threads | Median | 95th percentile | Real-time factor | Size | Memory |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        *rows,
        *(f"\n- {way.way} was not timed: {inline(way.why_not)}" for way in ways if way.why_not),
    ]
    return "\n".join(lines) + "\n"
