from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows import bench
from flows.cli import app
from tenuto.errors import BackboneError
from tenuto.exporting import measuring
from tests.bundles import write_tones

TIMING = measuring.Timing(
    threads=2, p50_ms=1.5, p95_ms=2.0, p99_ms=3.0, real_time_factor=0.01, clips_per_second={8: 400.0}
)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rounds on one thread."""
    measure = measuring.measure
    monkeypatch.setattr(
        measuring, "measure", lambda found, **options: measure(found, **(options | {"rounds": 2, "threads": (1,)}))
    )


@pytest.mark.usefixtures("quick")
def test_a_folder_with_an_export_is_timed_without_a_workspace(tmp_path: Path) -> None:
    write_tones(tmp_path / "artifacts" / "serving")
    told = CliRunner().invoke(app, ["bench", str(tmp_path), "--json"])
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)
    assert [way["way"] for way in found["ways"]] == ["fp32"]
    assert found["ways"][0]["timings"][0]["p50_ms"] > 0
    assert found["version"] is None
    table = CliRunner().invoke(app, ["bench", str(tmp_path)])
    assert "p50 ms" in table.output
    assert "first answer after" in table.output


def test_a_folder_without_a_model_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="none holds neither a checkpoint nor an exported model"):
        bench.of_folder(tmp_path / "none", 1.0, lambda done, total: None)


def test_a_folder_of_several_models_is_an_error_that_names_them_and_nothing_deeper_is_looked_for(
    tmp_path: Path,
) -> None:
    for name in ("1", "2"):
        write_tones(tmp_path / "many" / name)
        write_tones(tmp_path / "deep" / "below" / "further" / name)
    with pytest.raises(BackboneError, match=r"many holds 2 models \(1, 2\); name one of them"):
        bench.of_folder(tmp_path / "many", 1.0, lambda done, total: None)
    with pytest.raises(BackboneError, match="deep holds neither"):
        bench.of_folder(tmp_path / "deep", 1.0, lambda done, total: None)


def test_a_path_that_is_no_folder_is_not_taken_for_a_version(tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["bench", str(tmp_path / "nope")])
    assert told.exit_code == 2
    assert "there is no folder" in told.output


def test_all_threads_are_those_that_the_process_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[int]] = []
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 7})
    monkeypatch.setattr(measuring, "measure", lambda found, **options: asked.append(options["threads"]) or [])
    write_tones(tmp_path)
    bench.of_folder(tmp_path, 1.0, lambda done, total: None)
    assert asked == [[1, 3]]


def test_a_way_without_figures_gives_no_metrics_and_the_others_give_one_per_figure() -> None:
    ways = (
        measuring.Measured(
            way="int8-static", size_mb=0.9, cold_start_seconds=0.5, peak_memory_mb=90, timings=(TIMING,)
        ),
        measuring.Measured(way="torch", size_mb=1.3, why_not="it died"),
    )
    assert bench.figures(ways) == {
        "bench_int8_static_size_mb": 0.9,
        "bench_int8_static_peak_memory_mb": 90,
        "bench_int8_static_cold_start_seconds": 0.5,
        "bench_int8_static_p50_ms_2_threads": 1.5,
        "bench_int8_static_p95_ms_2_threads": 2.0,
        "bench_int8_static_p99_ms_2_threads": 3.0,
        "bench_int8_static_real_time_factor_2_threads": 0.01,
        "bench_int8_static_clips_per_second_batch_8_2_threads": 400.0,
    }
