"""What `tenuto remedies` tells at the terminal."""

from __future__ import annotations

import pytest

from flows.commands.remedies import _show
from tenuto.learning.remedies.comparison import Comparison, Trial
from tenuto.learning.remedies.rare import Rare
from tenuto.records import Interval


@pytest.mark.parametrize("use", ["none", "focal loss"])
def test_a_remedy_that_the_test_clips_chose_is_said_to_be_flattered(
    use: str, capsys: pytest.CaptureFixture[str]
) -> None:
    some = Interval(value=0.5, low=0.4, high=0.6, n=10, groups=10)
    trials = tuple(
        Trial(remedy=name, choices={}, macro_f1=some, rare_recall=some, rare_precision=some)
        for name in ("none", "focal loss")
    )
    rare = Rare(label="up", label_clips=2, is_rare=True)
    _show(Comparison(rare=rare, seeds=1, test_clips=24, trials=trials, use=use, why="it was tried"))
    told = capsys.readouterr().out
    assert ("found on the test clips, by which the gate then judges" in told) == (use != "none")
    assert "class 'up' has 2 training clips; 1 trial each" in told
    assert ("`imbalance.remedy: auto` chooses on the validation clips" in told) == (use != "none")


def test_where_nothing_helps_the_settings_stay(capsys: pytest.CaptureFixture[str]) -> None:
    some = Interval(value=0.5, low=0.4, high=0.6, n=10, groups=10)
    none = Trial(
        remedy="none", choices={"augment": {"fill": 0.0}}, macro_f1=some, rare_recall=some, rare_precision=some
    )
    rare = Rare(label="up", label_clips=2, is_rare=True)
    _show(Comparison(rare=rare, seeds=2, test_clips=24, trials=(none,), use="none", why="nothing helps"))
    told = " ".join(capsys.readouterr().out.split())
    assert "fill: 0.0" not in told
    assert "use none: nothing helps; augment.fill and imbalance in params.yaml may stay as they are" in told
