from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tenuto.scoring import latency
from tests import tones


class Slow:
    """A model that takes as long as it is told, by a clock of its own."""

    labels = ("sound",)
    sample_rate_hz = 1000

    def __init__(self, seconds: Sequence[float], warm_up: int = 3) -> None:
        self.now = 0.0
        self.takes = iter([5.0] * warm_up + list(seconds))
        self.batches: list[int] = []

    def predict(self, waves: Sequence[np.ndarray], batch_size: int = 32) -> np.ndarray:
        self.batches.append(len(waves))
        self.now += next(self.takes)
        return np.ones((len(waves), 1))


def test_the_figures_are_those_of_single_clips_without_the_warm_up() -> None:
    # 100 clips of half a second take 1, 2, ... 100 ms: the median lies at 50.5, the 95th percentile at 95.05
    model = Slow([ms / 1000 for ms in range(1, 101)])
    found = latency.measure(model, [np.zeros(500, np.float32)] * 100, clock=lambda: model.now)
    assert found["p50_ms"] == pytest.approx(50.5)
    assert found["p95_ms"] == pytest.approx(95.05)
    assert found["real_time_factor"] == pytest.approx(5.05 / 50)
    assert found["clips"] == 100
    assert set(model.batches) == {1}


def test_a_single_clip_is_enough() -> None:
    model = Slow([0.002], warm_up=1)
    found = latency.measure(model, [np.zeros(1000, np.float32)], clock=lambda: model.now)
    assert found == pytest.approx({"p50_ms": 2.0, "p95_ms": 2.0, "real_time_factor": 0.002, "clips": 1.0})


def test_models_take_turns_clip_by_clip_so_that_a_burst_of_load_falls_on_all_of_them() -> None:
    heard: list[str] = []

    class Named(Slow):
        def __init__(self, name: str) -> None:
            super().__init__([])
            self.name = name

        def predict(self, waves: Sequence[np.ndarray], batch_size: int = 32) -> np.ndarray:
            heard.append(self.name)
            now[0] += 1.0 if 10 < len(heard) <= 14 else {"quick": 0.001, "slow": 0.002}[self.name]
            return np.ones((1, 1))

    now = [0.0]
    waves = [np.zeros(1000, np.float32)] * 5
    models = {name: (Named(name), waves) for name in ("quick", "slow")}
    found = latency.in_turns(models, clock=lambda: now[0])
    assert heard[6:] == ["quick", "slow"] * 5  # after three each to warm up
    assert [found[name]["p50_ms"] for name in ("quick", "slow")] == pytest.approx([1.0, 2.0])
    assert found["slow"]["real_time_factor"] == pytest.approx((2 * 1.0 + 3 * 0.002) / 5)


def test_every_model_hears_the_same_clips_spread_over_the_test_set(tmp_path: Path) -> None:
    clips = tones.write_clips(tmp_path, per_cell=8)
    (tmp_path / "model" / "deep").mkdir(parents=True)
    (tmp_path / "model" / "weights").write_bytes(b"x" * 1_500_000)
    (tmp_path / "model" / "deep" / "config").write_bytes(b"x" * 500_000)
    models = {"candidate": tones.ToneModel(), "baseline": tones.ToneModel()}
    found = latency.of_models(models, dict.fromkeys(models, tmp_path / "model"), clips, tmp_path)
    assert list(found) == ["candidate", "baseline"]
    for figures in found.values():
        assert figures["clips"] == latency.CLIPS
        assert figures["size_mb"] == 2.0
        assert 0 < figures["p50_ms"] <= figures["p95_ms"]
        # 72 clips of a quarter of a second, of which 30 were timed
        assert figures["real_time_factor"] * 30 * 0.25 * 1000 >= figures["p95_ms"]


def test_fewer_clips_than_wanted_are_timed_once_each(tmp_path: Path) -> None:
    clips = tones.write_clips(tmp_path, per_cell=1, speakers=("ann",))
    found = latency.of_models({"candidate": tones.ToneModel()}, {"candidate": tmp_path}, clips, tmp_path)
    assert found["candidate"]["clips"] == 3


def test_without_test_clips_nothing_is_claimed(tmp_path: Path) -> None:
    none = pd.DataFrame({"path": []})
    assert latency.of_models({"candidate": tones.ToneModel()}, {"candidate": tmp_path}, none, tmp_path) == {}
