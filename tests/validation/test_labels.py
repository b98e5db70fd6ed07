"""Expectations about clips that have several labels: of each label, and not of each combination."""

from __future__ import annotations

import pandas as pd
import pytest

from tenuto.validation import Tables, balance, drift, recordings


def tables(labels: dict[str, int], sites: dict[str, str] | None = None, **others: pd.DataFrame) -> Tables:
    return Tables(clips(labels, sites), kind="many", **others)


def clips(labels: dict[str, int], sites: dict[str, str] | None = None) -> pd.DataFrame:
    """So many training clips of each label text, and where they were heard."""
    texts = [label for label, count in labels.items() for _ in range(count)]
    return pd.DataFrame(
        {
            "clip_id": [f"{number}" for number in range(len(texts))],
            "label": texts,
            "split": "train",
            "group_site": [(sites or {}).get(label, ("n", "s")[number % 2]) for number, label in enumerate(texts)],
        }
    )


def test_imbalance_counts_the_clips_that_have_a_label() -> None:
    found = balance.ClassImbalance(at_most=3).check(tables({"dog": 6, "dog;rain": 4, "rain": 1, "": 40}))
    assert found.observed == {"ratio": 2.0, "clips": {"dog": 10, "rain": 5}}
    assert found.success


def test_clips_and_groups_per_class_name_labels() -> None:
    each = tables({"dog": 6, "dog;rain": 2}, sites={"dog;rain": "n"})
    few = balance.ClipsPerClass(train=3, validation=0, test=0).check(each)
    assert few.groups == ("label=rain",)
    heard = balance.GroupsPerClass(group="site", at_least=2).check(each)
    assert heard.observed["heard_from"] == {"dog": 2, "rain": 1}


def test_a_site_that_tells_one_of_the_labels_is_found() -> None:
    mixed = {"dog": 20, "dog;rain": 20, "rain": 20, "": 20}
    rain_in_the_north = {"rain": "n", "dog;rain": "n", "dog": "s", "": "s"}
    even = balance.LabelGroupAssociation().check(tables(mixed))
    told = balance.LabelGroupAssociation().check(tables(mixed, rain_in_the_north))
    assert even.observed["cramers_v"]["site"] == pytest.approx(0, abs=0.05)
    assert told.observed["cramers_v"]["site"] == pytest.approx(1)


def test_known_labels_are_looked_up_one_by_one_and_none_is_known() -> None:
    each = tables({"dog;rain": 2, "": 1, "cat;dog": 1})
    assert recordings.KnownLabels(labels=("dog", "rain", "cat")).check(each).success
    assert recordings.KnownLabels(labels=("dog", "rain")).check(each).clips == ("3",)


def test_drift_of_labels_is_none_when_they_only_fall_together_otherwise() -> None:
    before = clips({"dog": 50, "rain": 50, "": 50})
    assert drift.LabelDrift().check(tables({"dog;rain": 50}, reference=before)).success
    assert not drift.LabelDrift().check(tables({"dog": 10, "rain": 90}, reference=before)).success
