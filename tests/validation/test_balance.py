import pytest

from tenuto.validation import balance
from tests.validation.tables import counted, tables


def test_a_rare_class_is_found_in_train_with_its_figures():
    rows = counted({("seven", "train"): 10, ("one", "train"): 84, ("two", "train"): 40, ("seven", "test"): 64})
    outcome = balance.ClassImbalance(at_most=3.0).check(tables(rows))
    assert not outcome.success
    assert outcome.summary == (
        "class imbalance in train: 'seven' has 10 clips, the largest class 84 (8.4 to 1, at most 3.0 wanted)"
    )
    assert outcome.groups == ("label=seven",)
    assert outcome.observed == {"ratio": 8.4, "clips": {"one": 84, "seven": 10, "two": 40}}


def test_a_ratio_at_the_limit_is_even():
    outcome = balance.ClassImbalance(at_most=3.0).check(tables(counted({("a", "train"): 10, ("b", "train"): 30})))
    assert outcome.success
    assert outcome.groups == ()


def test_a_class_that_is_not_in_train_at_all_is_found():
    outcome = balance.ClassImbalance().check(tables(counted({("a", "train"): 10, ("b", "test"): 30})))
    assert not outcome.success
    assert "'b' has 0 clips, the largest class 10" in outcome.summary
    assert outcome.observed["ratio"] is None
    assert outcome.groups == ("label=b",)


def test_too_few_clips_of_a_class_are_named_by_split():
    rows = counted({("a", "train"): 20, ("b", "train"): 9, ("a", "validation"): 3, ("b", "validation"): 3})
    rows += counted({("a", "test"): 5, ("b", "test"): 4})
    outcome = balance.ClipsPerClass(train=10, validation=3, test=5).check(tables(rows))
    assert not outcome.success
    assert outcome.summary == (
        "too few clips of a class: 'b' has 9 in train (10 wanted), 'b' has 4 in test (5 wanted); "
        "add recordings of 'b', or raise split.test"
    )
    in_train = balance.ClipsPerClass(train=10, validation=0, test=0).check(tables(rows))
    assert in_train.summary.endswith("(10 wanted); add recordings of 'b'")
    assert outcome.groups == ("label=b",)
    met = balance.ClipsPerClass(train=9, validation=3, test=4).check(tables(rows))
    assert met.success
    assert met.summary == "the smallest class has 9 in train, 3 in validation, 4 in test"


def test_each_class_is_heard_from_enough_speakers():
    rows = [{"label": "a", "group_speaker": s} for s in "xyz"] + [{"label": "b", "group_speaker": s} for s in "xxy"]
    rows += [{"label": "b", "group_speaker": "z", "split": "test"}]
    outcome = balance.GroupsPerClass(at_least=3).check(tables(rows))
    assert not outcome.success
    assert outcome.summary == "classes heard from few (by speaker) in train: 'b' from 2; at least 3 wanted"
    assert outcome.groups == ("label=b",)
    assert balance.GroupsPerClass(at_least=2).check(tables(rows)).success


def test_without_speakers_who_says_what_is_not_checked():
    outcome = balance.GroupsPerClass().check(tables([{"group_accent": "north"}]))
    assert outcome.success
    assert outcome.summary == "not checked: the clips have no speaker, recording or site"


def test_a_rare_accent_is_found_and_speakers_are_not_asked_for():
    rows = [{"group_speaker": f"s{i}", "group_accent": "north"} for i in range(30)]
    rows += [{"group_speaker": "t", "group_accent": "south"}] * 4
    rows += [{"group_speaker": "u", "group_accent": "west", "split": "test"}] * 40
    outcome = balance.ClipsPerGroup(at_least=30).check(tables(rows))
    assert not outcome.success
    assert outcome.summary == (
        "rare groups in train: accent=south has 4 clips, accent=west has 0 clips; at least 30 wanted"
    )
    assert outcome.groups == ("accent=south", "accent=west")
    assert "augment.fill" in balance.ClipsPerGroup.action


def test_named_groups_replace_the_automatic_choice():
    rows = [{"group_speaker": "s", "group_accent": "north"}] * 30 + [{"group_speaker": "t", "group_accent": "north"}]
    assert balance.ClipsPerGroup().check(tables(rows)).success
    assert (
        balance.ClipsPerGroup().check(tables(rows)).summary
        == "no rare groups in train (accent): at least 30 clips each"
    )
    outcome = balance.ClipsPerGroup(groups=("speaker",)).check(tables(rows))
    assert outcome.groups == ("speaker=t",)


def test_a_label_that_a_group_tells_is_found():
    rows = [{"label": "a", "group_device": "phone", "group_accent": "xy"[i % 2]} for i in range(40)]
    rows += [{"label": "b", "group_device": "desk", "group_accent": "xy"[i % 2]} for i in range(40)]
    outcome = balance.LabelGroupAssociation(at_most=0.3).check(tables(rows))
    assert not outcome.success
    assert outcome.groups == ("device",)
    assert outcome.summary == (
        "the label is associated with a group: Cramer's V of the label with device 1.00; at most 0.3 wanted"
    )
    assert outcome.observed["cramers_v"] == pytest.approx({"device": 1.0, "accent": 0.0})
    assert balance.LabelGroupAssociation(groups=("accent",)).check(tables(rows)).success


def test_clips_set_aside_count_for_nothing():
    rows = counted({("a", "train"): 10, ("b", "train"): 10, ("b", "aside"): 90}, group_accent="north")
    assert balance.ClassImbalance().check(tables(rows)).observed["clips"] == {"a": 10, "b": 10}
    assert balance.ClipsPerGroup(at_least=20).check(tables(rows)).observed == {"accent": {"north": 20}}
