"""The section of a version's description that says what `tenuto bench` measured."""

from __future__ import annotations

from tenuto.exporting.measuring import Measured, Timing
from tenuto.reporting.card import DESCRIPTION_CHARACTERS, with_timing


def timed(card: str, p50_ms: float) -> str:
    timing = Timing(threads=2, p50_ms=p50_ms, p95_ms=2.0, p99_ms=3.0, real_time_factor=0.0125, clips_per_second={})
    ways = (
        Measured(way="int8-static", size_mb=0.9, peak_memory_mb=90.4, timings=(timing,)),
        Measured(way="torch", size_mb=1.3, why_not="it | died"),
    )
    return with_timing(card, ways, clip_seconds=1.0, load_average=3.25, run_id="abc")


def test_the_table_is_the_last_section_and_takes_the_place_of_an_earlier_one() -> None:
    card = "# digits\n\n## Latency\n\nQuick.\n"
    once = timed(card, 1.5)
    assert once.startswith(card.rstrip() + "\n\n## Timed by `tenuto bench`\n")
    assert "| int8-static | 2 | 1.50 ms | 2.00 ms | 0.0125 | 0.9 MB | 90 MB |" in once
    assert "Clips of 1 s" in once and "at a load average of 3.2" in once
    assert "- torch was not timed: it \\| died" in once
    again = timed(once, 7.5)
    assert "1.50 ms" not in again and "7.50 ms" in again
    assert again == timed(card, 7.5)


def test_a_card_without_room_gives_up_its_last_sections_and_says_where_they_are() -> None:
    card = "# digits\n" + "".join(f"\n## Section {number}\n\n{'word ' * 160}\n" for number in range(6))
    assert DESCRIPTION_CHARACTERS - 500 < len(card) < DESCRIPTION_CHARACTERS
    found = timed(card, 1.5)
    assert len(found) <= DESCRIPTION_CHARACTERS
    assert "## Section 4" in found and "## Section 5" not in found
    assert "The rest is in the run's artifact card/model-card.md (run abc)." in found
    assert found.index("(run abc)") < found.index("## Timed by") < found.index("1.50 ms")
    assert timed(found, 1.5) == found
