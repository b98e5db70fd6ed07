"""The benchmark of the audit ends badly when an answer is slow or wrong; its registry is used in tests/flows."""

from __future__ import annotations

import pytest

from benchmarks import audit

QUICK = {"speaker": [1.9, 0.5, 0.5, 5.0]}
SAME = {"index": {"1", "2"}, "command": {"1", "2"}}


def test_quick_and_right_answers_pass() -> None:
    audit.check(QUICK, SAME, {"1", "2"})


@pytest.mark.parametrize("seconds", [[2.1, 0.5, 0.5, 0.5], [0.5, 2.1, 2.1, 0.5]])
def test_a_slow_first_call_and_slow_later_ones_end_it(seconds: list[float]) -> None:
    with pytest.raises(SystemExit, match="speaker: more than 2 s"):
        audit.check({"speaker": seconds}, SAME, {"1", "2"})


def test_a_wrong_answer_ends_it() -> None:
    with pytest.raises(SystemExit, match="command and tables disagree on versions 3"):
        audit.check(QUICK, SAME | {"command": {"1", "2", "3"}}, {"1", "2"})
