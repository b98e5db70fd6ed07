"""What the benchmark of the remedies asks for, on figures by hand."""

from __future__ import annotations

from benchmarks import remedies as benchmark
from tenuto.learning.remedies.comparison import Comparison, Trial
from tenuto.learning.remedies.known import NONE
from tenuto.learning.remedies.rare import Rare
from tenuto.records import Interval


def interval(value: float) -> Interval:
    return Interval(value=value, low=value, high=value, n=10, groups=10)


def trial(name: str, f1_gain: float, rare_gain: float, worst: float) -> Trial:
    gains = {"macro_f1_gain": interval(f1_gain), "rare_recall_gain": interval(rare_gain)} if name != NONE else {}
    some = dict.fromkeys(("macro_f1", "rare_recall", "rare_precision"), interval(0.5))
    return Trial(remedy=name, choices={}, worst_group="east", worst_group_recall=interval(worst), **some, **gains)


def missed(*trials: Trial) -> list[str]:
    rare = Rare(label="six", label_clips=8, group="accent", value="east", value_clips=18)
    return benchmark.shortfalls(Comparison(rare=rare, seeds=1, test_clips=10, trials=trials, use=NONE, why=""))


def test_both_gains_are_wanted_and_neither_at_a_cost() -> None:
    none = trial(NONE, 0, 0, 0.7)
    assert missed(none, trial("both", 0.0, 0.3, 0.75)) == []
    assert missed(none, trial("class", 0.01, 0.4, 0.5), trial("accent", 0.01, 0.0, 0.74)) == []
    assert missed(none, trial("small", 0.1, 0.29, 0.75)) == [
        "no remedy lifts recall of 'six' by 0.3 at no cost of macro-F1"
    ]
    assert len(missed(none, trial("costly", -0.01, 0.9, 0.99))) == 2
