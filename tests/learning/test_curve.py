"""The label-efficiency curve: bands and crossings by hand, nested draws, and a small one that is really trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tenuto.errors import TrainingError
from tenuto.learning import curve, finetune
from tenuto.learning.calibration import Calibration
from tenuto.learning.curve import Band, Point
from tenuto.learning.predictor import Predictor
from tenuto.reporting import curves
from tests.chirps import params, write_clips


def band(size: int, mean: float) -> Band:
    return Band(clips_per_class=size, mean=mean, low=mean, high=mean)


def point(way: curve.Way, size: int, seed: int, score: float) -> Point:
    return Point(way=way, clips_per_class=size, seed=seed, macro_f1=score, seconds=1.0, what="a network")


def test_a_band_is_students_interval_of_the_mean() -> None:
    """0.5, 0.6 and 0.7: mean 0.6, standard error 0.1 / sqrt 3, t of two degrees of freedom 4.3027."""
    found = curve.summarise([point("transfer", 5, seed, 0.5 + 0.1 * seed) for seed in range(3)])
    (only,) = found.transfer
    assert (only.mean, only.low) == pytest.approx((0.6, 0.6 - 4.302653 * 0.1 / 3**0.5))
    assert found.matched == {5: None}


def test_clips_to_reach_lie_between_the_sizes_by_their_logarithm() -> None:
    """Half way from 0.4 at 10 clips to 0.6 at 40: the geometric mean, 20."""
    bands = [band(10, 0.4), band(40, 0.6)]
    assert curve.clips_to_reach(0.5, bands) == pytest.approx(20)
    assert curve.clips_to_reach(0.3, bands) == 10
    assert curve.clips_to_reach(0.7, bands) is None


def test_larger_draws_hold_the_smaller_ones(tmp_path: Path) -> None:
    clips = write_clips(tmp_path, {"down": 9, "up": 9})
    few, more, other = (curve._drawn(clips, size, seed) for size, seed in ((2, 0), (4, 0), (2, 1)))

    def trained(table: pd.DataFrame) -> set[str]:
        return set(table[table["split"] == "train"]["clip_id"])

    assert trained(few) < trained(more) and len(trained(few)) == 4
    assert trained(other) != trained(few)
    assert (few["split"] == "test").equals(clips["split"] == "test")
    assert (few["split"] == "validation").equals(clips["split"] == "validation"), "ten of a class are never too many"


def test_a_small_curve_is_measured_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curve, "SCRATCH_STEPS", 3)
    monkeypatch.setattr(curve, "SCRATCH_WAYS", [("log-mel-cnn", 1e-3), ("log-mel-crnn", 1e-3)])
    clips = write_clips(tmp_path / "data", {"down": 6, "up": 6})
    told: list[tuple[int, int]] = []
    found = curve.measure(
        clips,
        tmp_path / "data",
        params(finetune={"epochs": 0}),
        tmp_path / "cache",
        [2, 99],
        seeds=1,
        on_progress=lambda done, total: told.append((done, total)),
    )
    largest = int(clips[clips["split"] == "train"]["label"].value_counts().max())
    assert [b.clips_per_class for b in found.transfer] == [2, largest], "99 is more than there are"
    assert told == [(1, 2), (2, 2)]
    assert {p.way for p in found.points} == {"transfer", "scratch"}
    assert all("log-mel-c" in p.what for p in found.points if p.way == "scratch")
    picture = curves.draw(found, tmp_path / "curve.png", title="chirps: $5 and more")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_sizes_that_no_class_has_are_refused(tmp_path: Path) -> None:
    clips = write_clips(tmp_path, {"down": 4, "up": 4})
    with pytest.raises(TrainingError, match=r"No class has 50 training clips \(the largest has 3\)"):
        curve.measure(clips, tmp_path, params(), tmp_path, [50])


def test_the_thresholds_of_the_checkpoint_decide_and_clips_are_read_as_they_are_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = write_clips(tmp_path / "data", {"down": 6, "up": 6})
    settings = params(finetune={"epochs": 0})
    made = finetune.train_candidate(clips, tmp_path / "data", settings, tmp_path / "cache", tmp_path / "model")
    Calibration(thresholds=(1e-9, 1.0)).save(made.path)  # whatever is heard, it is the first class
    taken: list[Any] = []
    predict = Predictor.predict
    monkeypatch.setattr(Predictor, "predict", lambda self, waves: (taken.append(waves), predict(self, waves))[1])
    found = curve._point("transfer", curve._Draw(clips, settings, 6), tmp_path / "data", made)
    assert found.macro_f1 == pytest.approx(1 / 3), "one of two test clips: F1 of 2/3 and 0"
    assert not isinstance(taken[0], list)
