"""What `tenuto bench` runs: how fast, large and hungry each way of serving one model is on this machine.

Plain functions and no Prefect flow: nothing is trained and nothing registered.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from flows import servers
from tasks import bench
from tenuto.errors import BackboneError
from tenuto.exporting import measuring
from tenuto.exporting.measuring import Measured
from tenuto.learning import preprocessing
from tenuto.records import Record
from tenuto.reporting.card import with_timing
from tenuto.serving.hearing import bundle as bundles
from tenuto.settings import Params
from tenuto.workspace import Workspace

Progress = Callable[[int, int], None]


class Bench(Record):
    """What one measurement came to; `version` and `mlflow_run` are None for a folder."""

    model: str
    version: str | None = None
    mlflow_run: str | None = None
    clip_seconds: float
    load_average: float
    ways: tuple[Measured, ...]


def of_folder(folder: Path, seconds: float, on_progress: Progress) -> Bench:
    """Of a checkpoint, a bundle, or a folder with one of each, such as a logged model of MLflow.

    Raises BackboneError when there is neither, and when there are several and nothing says which belong together.
    """
    found = measuring.subjects(_only(folder, preprocessing.FILE_NAME), _only(folder, bundles.FILE_NAME))
    if not found:
        raise BackboneError(
            f"{folder} holds neither a checkpoint nor an exported model, and nor do its folders or those in artifacts/."
        )
    threads = sorted({1, len(os.sched_getaffinity(0))})
    ways = measuring.measure(found, seconds=seconds, threads=threads, on_progress=on_progress)
    return Bench(model=str(folder), clip_seconds=seconds, load_average=os.getloadavg()[0], ways=tuple(ways))


def _only(folder: Path, file_name: str) -> Path | None:
    """The folder with that file: the one given, one in it, or one in its `artifacts`."""
    found = [folder] if (folder / file_name).is_file() else []
    found = found or sorted(path.parent for at in (folder, folder / "artifacts") for path in at.glob(f"*/{file_name}"))
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:5])
        raise BackboneError(
            f"{folder} holds {len(found)} models ({names}{', ...' * (len(found) > 5)}); name one of them."
        )
    return found[0] if found else None


def of_version(workspace: Workspace, params: Params, asked: str, seconds: float, on_progress: Progress) -> Bench:
    """Of a version or an alias; its figures go to the run that made it, and to its card."""
    uri = servers.tracking_uri(workspace, params)
    with tempfile.TemporaryDirectory(prefix="tenuto-bench-") as folder:
        version, model = bench.fetch(uri, params.name, asked, Path(folder))
        found = of_folder(model, seconds, on_progress)
    run = bench.log(uri, params.name, version, figures(found.ways), lambda card, run_id: _timed(card, found, run_id))
    return found.model_copy(update={"model": params.name, "version": version, "mlflow_run": run})


def _timed(card: str, found: Bench, run_id: str) -> str:
    return with_timing(
        card, found.ways, clip_seconds=found.clip_seconds, load_average=found.load_average, run_id=run_id
    )


def figures(ways: tuple[Measured, ...]) -> dict[str, float]:
    """Metrics of a run, such as `bench_fp32_p50_ms_1_threads`."""
    found: dict[str, float] = {}
    for way in ways:
        if way.why_not:
            continue
        name = f"bench_{way.way.replace('-', '_')}"
        found[f"{name}_size_mb"] = way.size_mb
        found[f"{name}_peak_memory_mb"] = way.peak_memory_mb
        found[f"{name}_cold_start_seconds"] = way.cold_start_seconds
        for timing in way.timings:
            for key in ("p50_ms", "p95_ms", "p99_ms", "real_time_factor"):
                found[f"{name}_{key}_{timing.threads}_threads"] = getattr(timing, key)
            for size, clips in timing.clips_per_second.items():
                found[f"{name}_clips_per_second_batch_{size}_{timing.threads}_threads"] = clips
    return found
