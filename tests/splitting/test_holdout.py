from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tenuto.errors import SettingsError
from tenuto.splitting import holdout as holdouts
from tenuto.splitting.holdout import Holdout, Rotation, Score, Units
from tenuto.splitting.pins import Pins, Unit

ONCE = Rotation(
    at=datetime(2026, 3, 2, 6, 30, tzinfo=UTC),
    reason="worn out",
    batch=3,
    test=Units(groups=("ann", "12"), families=("c0ffee",)),
    golden=Units(groups=("ben",)),
    released=Units(groups=("cat",)),
    champion={"golden": Score(clips=20, accuracy=(0.9, 0.8, 0.95), macro_f1=(0.89, 0.8, 0.94))},
)
AFTER = Holdout(group="speaker", hold_out={"speaker": ("cat",)}, rotations=(ONCE,))


def test_without_a_file_it_is_the_first_generation(tmp_path: Path):
    found = holdouts.read(tmp_path / "holdout.yaml")
    assert found == Holdout()
    assert found.generation == "1"


def test_what_is_written_is_read_again_names_that_look_like_numbers_too(tmp_path: Path):
    holdouts.write(AFTER, tmp_path / "holdout.yaml")
    assert holdouts.read(tmp_path / "holdout.yaml") == AFTER
    assert [path.name for path in tmp_path.iterdir()] == ["holdout.yaml"]


def test_each_rotation_is_a_generation():
    assert AFTER.generation == "2"
    assert AFTER.model_copy(update={"rotations": (ONCE, ONCE)}).generation == "3"


def test_golden_units_are_those_of_all_rotations():
    later = ONCE.model_copy(update={"golden": Units(families=("feed",))})
    assert AFTER.model_copy(update={"rotations": (ONCE, later)}).golden == {("group", "ben"), ("family", "feed")}


def test_an_erased_group_or_family_is_named_nowhere_any_more(tmp_path: Path):
    bare = AFTER.without("ann", "c0ffee").without("cat")
    assert bare.rotations[0].test == Units(groups=("12",))
    assert bare.rotations[0].released == Units()
    assert bare.hold_out == {}
    holdouts.write(bare, tmp_path / "holdout.yaml")
    text = (tmp_path / "holdout.yaml").read_text()
    assert not {"ann", "cat", "c0ffee"} & set(text.replace(",", " ").replace("[", " ").replace("]", " ").split())
    assert bare.golden == AFTER.golden


def test_what_is_pinned_is_written_and_an_erased_unit_is_pinned_no_more(tmp_path: Path):
    homes: dict[Unit, str] = {("group", "ann"): "train", ("family", "c0ffee"): "test", ("group", "ben"): "test"}
    found = Holdout(pinned=Pins.of(homes, (), (), settings="d", before=None))
    holdouts.write(found, tmp_path / "holdout.yaml")
    assert holdouts.read(tmp_path / "holdout.yaml") == found
    bare = found.without("ann", "c0ffee").pinned
    assert bare is not None
    assert bare.homes(homes) == {("group", "ben"): "test"}
    assert found.generation == "1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("groop: speaker", r"holdout\.yaml: unknown key 'groop'; did you mean 'group'\?"),
        ("rotations: 3", r"holdout\.yaml: rotations = 3 cannot be used: wanted a list"),
        ("rotations: [{at: 2026-03-02, batch: 0, test: {groups: [a]}}]", r"'rotations\.0\.released' is missing"),
        ("- a", r"holdout\.yaml holds a list, wanted `key: value` lines"),
        ("a: [", r"holdout\.yaml is not valid YAML: line 1"),
    ],
    ids=["typo", "no list", "missing", "a list", "no yaml"],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, text, message):
    (tmp_path / "holdout.yaml").write_text(text)
    with pytest.raises(SettingsError, match=message):
        holdouts.read(tmp_path / "holdout.yaml")
