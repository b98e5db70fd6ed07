"""What an export saves: the exported default model against transformers' pipeline over the same weights.

    python -m benchmarks.serving_latency [FOLDER]

FOLDER holds a checkpoint and its bundle, as a registered version does; without it a model of the default backbone is
made of the starter set's digits in a throw-away workspace. One second of sound, one thread; each way in a process of
its own, in turns; the ratios are those of medians. Exits 1 when the fp32 graph takes more than 0.4 of the pipeline's
time, the best published one more than 0.3, or a real-time factor is above 0.01.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.command import machine, tenuto
from tenuto.exporting import measuring
from tenuto.exporting.measuring import Measured, Timing
from tenuto.learning import preprocessing
from tenuto.serving.hearing import bundle as bundles

MOST_FP32, MOST_BEST, MOST_REAL_TIME = 0.4, 0.3, 0.01


def main() -> None:
    print(machine(), flush=True)
    if len(sys.argv) > 1:
        raise SystemExit(judged(Path(sys.argv[1])))
    with tempfile.TemporaryDirectory(prefix="tenuto-latency-") as folder:
        tenuto(Path(folder), "init", "digits")
        workspace = Path(folder) / "digits"
        tenuto(workspace, "data", "starter")
        tenuto(workspace, "retrain", codes=(0, 2))
        raise SystemExit(judged(workspace / ".tenuto"))


def judged(folder: Path) -> int:
    """Prints the figures of what lies in `folder`; 1 when one of the targets is missed."""
    checkpoint = next(
        path.parent for path in sorted(folder.rglob(preprocessing.FILE_NAME)) if "baseline" not in str(path)
    )
    bundle = next(path.parent for path in sorted(folder.rglob(bundles.FILE_NAME)))
    best = bundles.read(bundle).best
    ways = {way.way: way for way in measuring.measure(measuring.subjects(checkpoint, bundle), rounds=40)}
    for way in ways.values():
        show(way, ways["pipeline"].timings[0].p50_ms)
    pipeline, fp32, chosen = (ways[name].timings[0] for name in ("pipeline", "fp32", best))  # type: ignore[index]
    missed = misses(pipeline, fp32, best, chosen)
    print(machine())
    print("\n".join(f"MISSED: {why}" for why in missed) or "all targets met")
    return int(bool(missed))


def misses(pipeline: Timing, fp32: Timing, best: str, chosen: Timing) -> list[str]:
    """One line for each target that is missed."""
    found = [
        f"{what} takes {it.p50_ms / pipeline.p50_ms:.2f} of the pipeline's time, at most {most} wanted"
        for what, it, most in (("fp32", fp32, MOST_FP32), (f"the best, {best},", chosen, MOST_BEST))
        if it.p50_ms > most * pipeline.p50_ms
    ]
    if chosen.real_time_factor > MOST_REAL_TIME:
        found.append(f"{best} has a real-time factor of {chosen.real_time_factor:.4f}, at most {MOST_REAL_TIME} wanted")
    return found


def show(way: Measured, pipeline_ms: float) -> None:
    if way.why_not:
        print(f"{way.way:13} not measured: {way.why_not}")
        return
    timing = way.timings[0]
    print(
        f"{way.way:13} p50 {timing.p50_ms:6.2f} ms ({timing.p50_ms / pipeline_ms:.2f} x pipeline)  "
        f"p99 {timing.p99_ms:6.2f}  real-time factor {timing.real_time_factor:.4f}  {way.size_mb:4.1f} MB  "
        f"memory {way.peak_memory_mb:.0f} MB  cold start {way.cold_start_seconds:.1f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
