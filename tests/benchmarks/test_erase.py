"""The benchmark of an erasure ends badly when anything is left."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks import erase

CLEAN = (Counter({"reports": 3}), {})
FOUND = (Counter({"reports": 3}), {"reports": Counter({"ids": 2, "name": 1}), ".git": Counter({"name": 4})})


def test_hits_are_counted_over_places_and_kinds() -> None:
    assert (erase.hits(CLEAN), erase.hits(FOUND)) == (0, 7)
    erase.check(before=FOUND, after=CLEAN)


def test_what_is_left_and_a_blind_search_end_the_benchmark() -> None:
    with pytest.raises(SystemExit, match="7 hits are left"):
        erase.check(before=FOUND, after=FOUND)
    with pytest.raises(SystemExit, match="found nothing before"):
        erase.check(before=CLEAN, after=CLEAN)
