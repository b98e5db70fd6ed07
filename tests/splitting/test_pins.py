from __future__ import annotations

import time
from pathlib import Path

import pytest

from tenuto.settings import SplitSettings
from tenuto.splitting import holdout as holdouts
from tenuto.splitting.holdout import Holdout
from tenuto.splitting.pins import Pins, Unit, settings_digest

HOMES: dict[Unit, str] = {
    ("group", "ann"): "train",
    ("group", "ben"): "test",
    ("family", "c0ffee"): "validation",
    ("group", "dan"): "golden",
}


def pins(before: Pins | None = None) -> Pins:
    return Pins.of(HOMES, {"eve"}, {"feed"}, settings="d1", before=before)


def test_every_unit_is_found_in_its_split_and_no_other_is():
    made = pins()
    assert made.homes([*HOMES, ("family", "ann"), ("group", "fay")]) == HOMES
    assert made.divided_of(["ann", "eve"]) == {"eve"}
    assert made.aside_of(["c0ffee", "feed"]) == {"feed"}


def test_nobody_is_named_and_two_workspaces_name_the_same_unit_differently():
    first, second = pins(), pins()
    assert not any(name in first.model_dump_json() for name in ("ann", "ben", "dan", "eve", "c0ffee", "feed"))
    assert first.train != second.train


def test_later_pins_keep_those_of_whom_nothing_is_there_just_now():
    later = Pins.of({("group", "ben"): "train"}, set(), set(), settings="d2", before=pins())
    assert later.homes(HOMES) == {**HOMES, ("group", "ben"): "train"}
    assert (later.divided_of(["eve"]), later.aside_of(["feed"]), later.settings) == ({"eve"}, {"feed"}, "d2")


def test_a_name_is_taken_out_whatever_it_was():
    bare = pins().without(["ann", "c0ffee", "eve", "feed"])
    assert bare.homes(HOMES) == {("group", "ben"): "test", ("group", "dan"): "golden"}
    assert (bare.divided, bare.aside, bare.train, bare.validation) == ("", "", "", "")


@pytest.mark.parametrize(
    ("one", "other", "are_alike"),
    [
        ({}, {"group": "speaker"}, True),  # 'auto' stood for it
        ({"hold_out": {"speaker": ("a", "b")}}, {"hold_out": {"speaker": ("b", "a")}}, True),
        ({}, {"seed": 1}, False),
        ({}, {"validation": 0.1}, False),
        ({}, {"hold_out": {"speaker": ("a",)}}, False),
    ],
)
def test_settings_are_the_same_when_they_divide_alike(one, other, are_alike):
    first, second = (settings_digest(SplitSettings(**choices), "speaker") for choices in (one, other))
    assert (first == second) is are_alike
    assert first != settings_digest(SplitSettings(**one), None)


@pytest.mark.slow
def test_a_hundred_thousand_recordings_without_a_group_fit_into_a_small_file(tmp_path: Path):
    homes: dict[Unit, str] = {("family", f"{i:032x}"): ("train", "test")[i % 3 == 0] for i in range(100_000)}
    path = tmp_path / "holdout.yaml"
    holdouts.write(Holdout(pinned=Pins.of(homes, (), (), settings="d", before=None)), path)
    assert path.stat().st_size < 1_500_000
    started = time.perf_counter()
    found = holdouts.read(path).pinned
    assert found is not None
    assert found.homes(homes) == homes
    assert time.perf_counter() - started < 20
