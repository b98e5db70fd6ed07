from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tenuto.learning import augment
from tenuto.reporting import augmentation
from tenuto.settings import AugmentSettings, Params
from tests.reporting.sample import write_clip

PLAIN = AugmentSettings(room=0, pitch=0, stretch=0, band_limit=0, noise=1, gain=1)  # nothing slow
PARAMS = Params(name="digits", augment=PLAIN)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in "abcdef":
        write_clip(tmp_path / f"{name}.flac", 440, seconds=0.1)
    return tmp_path


def clips(labels: str) -> pd.DataFrame:
    """Six training clips with one letter of `labels` each, and one test clip."""
    rows = [{"clip_id": n, "path": f"{n}.flac", "source": n, "label": c} for n, c in zip("abcdef", labels, strict=True)]
    table = pd.DataFrame([*rows, {**rows[0], "clip_id": "t", "source": "test clip"}])
    return table.assign(split=["train"] * 6 + ["test"])


def test_copies_of_rare_classes_are_shown_as_they_were_drawn(data: Path) -> None:
    table = clips("xxxxyz")
    examples = augmentation.examples(table, data, PARAMS)
    assert {example.label for example in examples} == {"y", "z"}
    assert len(examples) == augmentation.MOST_EXAMPLES
    planned = augment.plan(table, PLAIN, np.random.default_rng(PARAMS.seed)).to_dict("records")
    drawn = {augmentation.changes(row): row for row in planned}
    for example in examples:
        expected = augment.apply(example.original, 8000, drawn[example.changes])
        np.testing.assert_array_equal(example.augmented, expected)
        assert not np.array_equal(example.augmented, example.original)


def test_every_reason_has_its_turn(data: Path) -> None:
    examples = augmentation.examples(clips("xxxxyz"), data, PARAMS)
    assert [example.label for example in examples] == ["y", "z", "y", "z"]


def test_where_nothing_is_rare_copies_of_any_training_clip_are_shown(data: Path) -> None:
    examples = augmentation.examples(clips("xxxyyy"), data, PARAMS)
    assert len(examples) == augmentation.MOST_EXAMPLES
    assert "test clip" not in {example.source for example in examples}


def test_nothing_to_show(data: Path) -> None:
    off = Params(name="digits", augment=AugmentSettings(**dict.fromkeys(PLAIN.model_dump(include=SWITCHES), 0)))
    assert augmentation.examples(clips("xxxyyz"), data, off) == []
    assert augmentation.examples(None, data, PARAMS) == []
    assert augmentation.examples(clips("xxxyyz"), data, None) == []


SWITCHES = {"noise", "gain", "shift", "room", "band_limit", "pitch", "stretch"}


def test_an_unreadable_clip_is_passed_over(data: Path) -> None:
    (data / "f.flac").write_bytes(b"no sound")
    assert {example.label for example in augmentation.examples(clips("xxxxyz"), data, PARAMS)} == {"y"}


def test_changes_in_words() -> None:
    drawn = dict.fromkeys(augment.DRAWN, float("nan"))
    assert augmentation.changes(drawn) == ""
    drawn |= {"noise_seed": 7, "stretch_rate": 1.08, "shift_seconds": -0.037, "gain_db": -2.5, "noise_snr_db": 12.2}
    expected = "faster by 8%, earlier by 37 ms, 2.5 dB softer, noise at 12 dB"
    assert augmentation.changes(drawn) == expected
    drawn = dict.fromkeys(augment.DRAWN, float("nan")) | {"room_seconds": 0.31, "band_limit_hz": 3100.0}
    assert augmentation.changes(drawn) == "room of 0.3 s, nothing above 3.1 kHz"


def test_every_draw_has_its_words() -> None:
    assert {"noise_seed", *augmentation._WORDS} == set(augment.DRAWN)
