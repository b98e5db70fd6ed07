"""Ways to serve a small bundle, each in a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tenuto.exporting import measuring
from tenuto.serving.hearing import bundle as bundles
from tests.bundles import write_tones


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    write_tones(folder)
    return folder


def test_a_bundle_is_timed_with_each_number_of_threads(folder: Path) -> None:
    told: list[tuple[int, int]] = []
    [found] = measuring.measure(
        measuring.subjects(None, folder),
        threads=(1, 2),
        batch_sizes=(1, 4),
        rounds=2,
        on_progress=lambda done, total: told.append((done, total)),
    )
    assert found.way == "fp32"
    assert found.why_not == ""
    assert [timing.threads for timing in found.timings] == [1, 2]
    for timing in found.timings:
        assert 0 < timing.p50_ms <= timing.p95_ms <= timing.p99_ms
        assert timing.real_time_factor > 0
        assert set(timing.clips_per_second) == {1, 4}
    assert found.cold_start_seconds > 0.01
    assert 10 < found.peak_memory_mb < 1000
    assert found.size_mb == (folder / "model.onnx").stat().st_size / 1e6
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_way_that_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    write_tones(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    [refused] = measuring.measure(measuring.subjects(None, tmp_path), rounds=1, batch_sizes=(1,))
    assert refused.timings == ()
    assert "model.onnx" in refused.why_not


@pytest.mark.parametrize(("dies_at", "threads"), [("time", (1, 2)), ("batch", (1,))])
def test_a_way_that_dies_after_its_start_says_so_and_the_others_are_timed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: str, threads: tuple[int, ...]
) -> None:
    written = write_tones(tmp_path)
    artefact = written.artefact().model_copy(update={"name": "int8-static"})
    bundles.write(written.model_copy(update={"artefacts": (artefact,), "best": "int8-static"}), tmp_path)
    asked = measuring._asked

    def killing(process: measuring._Process, order: dict[str, Any]) -> dict[str, Any]:
        if order["do"] == dies_at and str(tmp_path) in process.args:
            process.kill()
            process.wait()
        return asked(process, order)

    monkeypatch.setattr(measuring, "_asked", killing)
    [dead], [well] = (measuring.subjects(None, each) for each in (tmp_path, folder))
    found = measuring.measure([dead, well], threads=threads, batch_sizes=(1,), rounds=1)
    assert [(way.why_not, len(way.timings)) for way in found] == [("its process died", 0), ("", len(threads))]


def test_percentiles_and_the_real_time_factor_are_those_of_the_calls() -> None:
    seconds = [0.001 * number for number in range(1, 101)]
    timing = measuring.timing(seconds, threads=1, clip_seconds=0.5, clips_per_second={})
    assert timing.p50_ms == pytest.approx(50.5)
    assert timing.p95_ms == pytest.approx(95.05)
    assert timing.p99_ms == pytest.approx(99.01)
    assert timing.real_time_factor == pytest.approx(np.mean(seconds) / 0.5)
