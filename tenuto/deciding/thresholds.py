"""What a rule demands of an interval, and how many more clips would decide one that straddles.

A whole interval on the right side passes, one on the wrong side fails, any other is inconclusive.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tenuto.deciding.policy import Rule
from tenuto.records import Interval, RuleOutcome
from tenuto.scoring.samples import MIN_UNITS

TIMES_AT_MOST = 20
"""A test set that would have to grow by more than this is not worth a number."""


@dataclass(frozen=True)
class Threshold:
    """Passes wholly above `pass_at`, fails wholly below `fail_at`; the other way round when `is_ceiling`."""

    pass_at: float
    fail_at: float
    is_ceiling: bool = False
    is_strict: bool = False
    """Whether an interval that ends on the threshold is not beyond it."""

    def outcome(self, interval: Interval) -> RuleOutcome:
        """'pass', 'fail' or 'inconclusive'."""
        low, _, high, passes_from, fails_below = self._upright(interval)
        if high < fails_below or (self.is_strict and high == fails_below):
            return "fail"
        return "pass" if low > passes_from or (not self.is_strict and low == passes_from) else "inconclusive"

    def goodness(self, interval: Interval) -> float:
        """Grows with the value where more is wanted, shrinks where less is: the smallest is the worst."""
        return self._upright(interval)[1]

    def times(self, interval: Interval, to_pass: float = 1.0, to_fail: float = 1.0) -> float:
        """How many times the test set would settle it in half of the cases, were the value the true one.

        An interval of n groups narrows as 1 / sqrt(n), so it clears the nearer threshold when it has narrowed to the
        distance. `to_pass` and `to_fail` widen it. Infinite when the value lies on the threshold.
        """
        low, value, high, passes_from, fails_below = self._upright(interval)
        above, below = value - passes_from, fails_below - value
        passing = ((value - low) * to_pass / above) ** 2 if above > 0 else math.inf
        failing = ((high - value) * to_fail / below) ** 2 if below > 0 else math.inf
        return min(passing, failing)

    def _upright(self, interval: Interval) -> tuple[float, float, float, float, float]:
        if self.is_ceiling:
            return -interval.high, -interval.value, -interval.low, -self.pass_at, -self.fail_at
        return interval.low, interval.value, interval.high, self.pass_at, self.fail_at


@dataclass(frozen=True)
class More:
    """So many more clips of so many more groups would settle a rule; None: no number worth naming."""

    clips: int | None
    groups: int | None = None


def threshold_of(rule: Rule) -> Threshold:
    """What the rule demands. A candidate shown to be behind at all fails `not_worse_by`, however small the lag."""
    value = rule.threshold
    if rule.test.startswith("not_worse_by"):
        return Threshold(-value, 0.0)
    is_ceiling = rule.test in ("at_most", "not_better_by")
    return Threshold(value, value, is_ceiling, is_strict=rule.is_lead)


def stretch(units: int, level: float, doubt: float) -> float:
    """How much wider an interval at the one-sided `level` is than one at `doubt`."""
    from scipy import stats

    return float(stats.t.ppf(1 - level, max(units - 1, 1)) / stats.t.ppf(1 - doubt, max(units - 1, 1)))


def more(times: float, interval: Interval, is_by_clip: bool) -> More:
    """The clips and groups that make the test set so many times as large, rounded up to two digits."""
    if times > TIMES_AT_MOST:
        return More(None)
    clips = _rounded((times - 1) * interval.n)
    return More(clips, None if is_by_clip or interval.groups < MIN_UNITS else _rounded((times - 1) * interval.groups))


def _rounded(value: float) -> int:
    whole = max(1, math.ceil(value))
    step = 10 ** max(0, len(str(whole)) - 2)
    return math.ceil(whole / step) * step
