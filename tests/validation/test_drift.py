import numpy as np
import pytest

from tenuto.validation import drift
from tests.validation.tables import clips_table, tables

KINDS = [drift.LabelDrift, drift.GroupDrift, drift.DurationDrift, drift.LevelDrift]


def labelled(**counts: int) -> list[dict]:
    return [{"label": label, "group_accent": "north"} for label, n in counts.items() for _ in range(n)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_version_has_nothing_to_be_compared_with(kind):
    outcome = kind().check(tables(labelled(a=5, b=5)))
    assert outcome.success
    assert outcome.summary == "not compared: no version was trained yet"


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_version_has_not_drifted(kind):
    rows = labelled(a=50, b=50)
    outcome = kind().check(tables(rows, reference=clips_table(rows)))
    assert outcome.success
    assert max(outcome.observed.values()) == 0


def test_labels_that_moved_are_named_with_their_shares():
    reference = clips_table(labelled(a=50, b=50, c=100))
    outcome = drift.LabelDrift().check(tables(labelled(a=100, b=0, c=100), reference=reference))
    assert not outcome.success
    # b had 50 of 200 clips and now has none, a doubled; half a clip is added to every bin
    p, q = np.array([50.5, 50.5, 100.5]) / 201.5, np.array([100.5, 0.5, 100.5]) / 201.5
    assert outcome.observed == {"label": pytest.approx(((q - p) * np.log(q / p)).sum())}
    assert outcome.groups == ("label=a", "label=b")
    assert (
        outcome.summary
        == "shares moved in label (stability index 1.32): a 25 % to 50 %, b 25 % to 0 %; at most 0.2 wanted"
    )


def test_a_new_accent_is_drift_of_that_group_only():
    rows = [{"group_accent": "north", "group_room": "hall"}] * 60
    now = rows + [{"group_accent": "south", "group_room": "hall"}] * 40
    outcome = drift.GroupDrift().check(tables(now, reference=clips_table(rows)))
    assert not outcome.success
    assert outcome.groups == ("accent=north", "accent=south")
    assert outcome.observed["room"] == 0
    assert drift.GroupDrift(groups=("room",)).check(tables(now, reference=clips_table(rows))).success


def test_a_group_that_the_last_version_did_not_have_is_drift():
    reference = clips_table([{}] * 20)
    assert (
        not drift.GroupDrift()
        .check(tables([{"group_site": "p"}, {"group_site": "q"}] * 10, reference=reference))
        .success
    )


def test_quieter_recordings_are_drift_of_level():
    before = [{"level_dbfs": level} for level in np.linspace(-25, -15, 201)]
    now = [{"level_dbfs": row["level_dbfs"] - 10} for row in before]
    outcome = drift.LevelDrift().check(tables(now, reference=clips_table(before)))
    assert not outcome.success
    assert outcome.summary.startswith(
        "level moved: median -20 dBFS in the last trained version, -30 dBFS now (stability"
    )


def test_clips_set_aside_then_and_now_are_not_compared():
    rows = labelled(a=50, b=50)
    aside = [row | {"split": "aside", "label": "b", "duration_seconds": 9.0} for row in labelled(a=300)]
    for kind in (drift.LabelDrift, drift.DurationDrift):
        assert kind().check(tables(rows + aside, reference=clips_table(rows))).success
        assert kind().check(tables(rows, reference=clips_table(rows + aside))).success
