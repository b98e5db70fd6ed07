"""How fast, large and hungry each way of serving one model is, side by side on this machine.

Every way has a process of its own, so that its memory and its start are its own, and the processes take turns, so that
what else the machine does in the meantime weighs on all of them alike. `python -m tenuto.exporting.measuring` is such
a process; it takes orders as lines of JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from tenuto.learning.framing import Wave
from tenuto.records import Record
from tenuto.serving.hearing import bundle as bundles

PIPELINE = "pipeline"
"""The audio-classification pipeline of transformers over the checkpoint."""
TORCH = "torch"
"""Our predictor over the checkpoint."""
BATCH_SIZES = (1, 8, 32)

_ROUNDS, _CALLS = 20, 10
_TURN_SECONDS = 0.5
"""After which the next process has its turn, however few calls that was."""
_BYTES_PER_MB = 1_000_000

Way = Literal["pipeline", "torch", "fp32", "int8-dynamic", "int8-static"]
Listener = Callable[[Sequence[Wave]], object]


class Subject(Record):
    """One way to serve a model: what hears, and the folder of the checkpoint, or of the bundle, that it loads."""

    way: Way
    folder: Path


class Timing(Record):
    """What one way takes with so many threads."""

    threads: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    real_time_factor: float
    clips_per_second: dict[int, float]


class Measured(Record):
    """One way's figures; `peak_memory_mb` and `cold_start_seconds` with one thread, clips heard one at a time.

    A cold start lasts from the start of the process to its first answer. `why_not` says why there are no figures.
    """

    way: Way
    size_mb: float
    cold_start_seconds: float = 0.0
    peak_memory_mb: float = 0.0
    timings: tuple[Timing, ...] = ()
    why_not: str = ""


def subjects(checkpoint: Path | None, bundle: Path | None) -> list[Subject]:
    """The ways that there are of a checkpoint and of the published artefacts of a bundle, or of one of both."""
    found = [Subject(way=way, folder=checkpoint) for way in (PIPELINE, TORCH)] if checkpoint else []  # type: ignore[arg-type]
    if bundle:
        found += [Subject(way=artefact.name, folder=bundle) for artefact in bundles.read(bundle).published]
    return found


def measure(
    found: Sequence[Subject],
    *,
    seconds: float = 1.0,
    threads: Sequence[int] = (1,),
    batch_sizes: Sequence[int] = BATCH_SIZES,
    rounds: int = _ROUNDS,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Measured]:
    """The figures of each way, over clips of noise of so many seconds, with each number of threads."""
    figures = {subject.way: Measured(way=subject.way, size_mb=_size_mb(subject)) for subject in found}
    total = len(threads) * rounds
    for place, count in enumerate(threads):
        running: dict[Way, _Process] = {}
        with contextlib.ExitStack() as stack:
            for subject in found:
                if figures[subject.way].why_not:
                    continue
                with _or_why_not(figures, running, subject.way):
                    process = stack.enter_context(_process(subject, count, seconds))
                    _asked(process, {"do": "start"})
                    running[subject.way] = process
                    if place == 0:
                        start = {"cold_start_seconds": _since(process)}
                        figures[subject.way] = figures[subject.way].model_copy(update=start)
            heard: dict[Way, list[float]] = {way: [] for way in running}
            for number in range(rounds):
                for way, process in list(running.items()):
                    with _or_why_not(figures, running, way):
                        heard[way] += _asked(process, {"do": "time", "calls": _CALLS})["seconds"]
                on_progress(place * rounds + number + 1, total)
            for way, process in list(running.items()):
                with _or_why_not(figures, running, way):
                    figures[way] = _added(figures[way], process, count, heard[way], seconds, batch_sizes)
    return list(figures.values())


@contextlib.contextmanager
def _or_why_not(figures: dict[Way, Measured], running: dict[Way, _Process], way: Way) -> Iterator[None]:
    """What fails has no figures and says why; the others go on."""
    try:
        yield
    except _FailedError as error:
        running.pop(way, None)
        figures[way] = figures[way].model_copy(update={"why_not": str(error), "timings": ()})


def _added(
    so_far: Measured, process: _Process, threads: int, heard: list[float], seconds: float, batch_sizes: Sequence[int]
) -> Measured:
    memory = so_far.peak_memory_mb or _asked(process, {"do": "memory"})["mb"]
    throughput = {size: _asked(process, {"do": "batch", "clips": size})["clips_per_second"] for size in batch_sizes}
    found = timing(heard, threads=threads, clip_seconds=seconds, clips_per_second=throughput)
    return so_far.model_copy(update={"peak_memory_mb": memory, "timings": (*so_far.timings, found)})


def timing(
    seconds: Sequence[float], *, threads: int, clip_seconds: float, clips_per_second: dict[int, float]
) -> Timing:
    """The percentiles of calls that took so many seconds, each over a clip of `clip_seconds`."""
    p50, p95, p99 = (float(value) * 1000 for value in np.percentile(seconds, (50, 95, 99)))
    return Timing(
        threads=threads,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        real_time_factor=float(np.mean(seconds)) / clip_seconds,
        clips_per_second=clips_per_second,
    )


class _FailedError(Exception):
    """A way to serve that does not answer."""


class _Process(subprocess.Popen[str]):
    started: float


@contextlib.contextmanager
def _process(subject: Subject, threads: int, seconds: float) -> Iterator[_Process]:
    path = os.pathsep.join(place or str(Path.cwd()) for place in sys.path)  # the modules of this process, none else
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore", "PYTHONPATH": path}
    command = [sys.executable, "-P", "-m", __name__, subject.way, str(subject.folder), str(threads), str(seconds)]
    started = time.perf_counter()
    with _Process(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        process.started = started
        try:
            yield process
        finally:
            process.kill()
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # an order that a dead process never read
                process.stdin.close()


def _since(process: _Process) -> float:
    return time.perf_counter() - process.started


def _asked(process: _Process, order: dict[str, Any]) -> dict[str, Any]:
    """The answer to an order; raises _FailedError when there is none."""
    assert process.stdin is not None and process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
    answer = process.stdout.readline()
    found = cast(dict[str, Any], json.loads(answer)) if answer else {"error": "its process died"}
    if "error" in found:
        raise _FailedError(found["error"])
    return found


def _size_mb(subject: Subject) -> float:
    if subject.way in (PIPELINE, TORCH):
        return sum(path.stat().st_size for path in subject.folder.rglob("*") if path.is_file()) / _BYTES_PER_MB
    return (subject.folder / bundles.read(subject.folder).artefact(subject.way).file).stat().st_size / _BYTES_PER_MB


def _listener(way: str, folder: Path, threads: int) -> tuple[Listener, int]:
    """What hears waves, and the sample rate that it wants."""
    if way not in (PIPELINE, TORCH):
        from tenuto.serving.hearing.classifier import Classifier

        classifier = Classifier.load(folder, way, threads=threads)
        return classifier.hear, classifier.sample_rate_hz
    import torch

    from tenuto.learning.predictor import Predictor

    torch.set_num_threads(threads)
    predictor = Predictor.load(folder)
    if way == TORCH:
        return predictor.predict, predictor.sample_rate_hz
    from transformers import pipeline

    extractor = predictor.preprocessing.feature_extractor
    hears = pipeline("audio-classification", model=predictor.model, feature_extractor=extractor)

    def classified(waves: Sequence[Wave]) -> object:
        if len(waves) == 1:
            return hears(waves[0].copy())
        return hears(list(waves), batch_size=len(waves))  # type: ignore[arg-type]

    return classified, predictor.sample_rate_hz


def _serve(way: str, folder: Path, threads: int, seconds: float) -> None:
    """Do what the lines on stdin say, until there are no more."""
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries print
    hears: Listener | None = None
    wave = np.zeros(0, np.float32)
    for line in sys.stdin:
        order = json.loads(line)
        try:
            if hears is None:
                hears, rate_hz = _listener(way, folder, threads)
                noise = np.random.default_rng(0).standard_normal(round(seconds * rate_hz))
                wave = (0.1 * noise).astype(np.float32)
                hears([wave])
            answer = _obeyed(order, hears, wave)
        except Exception as error:  # whatever a library raises is why this way has no figures
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
        print(json.dumps(answer), file=answers, flush=True)


def _obeyed(order: dict[str, Any], hears: Listener, wave: Wave) -> dict[str, Any]:
    if order["do"] == "time":
        heard = [_timed(hears, [wave])]
        while len(heard) < order["calls"] and sum(heard) < _TURN_SECONDS:
            heard.append(_timed(hears, [wave]))
        return {"seconds": heard}
    if order["do"] == "batch":
        batch = [wave] * order["clips"]
        calls = max(3, 64 // len(batch))
        return {"clips_per_second": len(batch) / float(np.median([_timed(hears, batch) for _ in range(calls)]))}
    if order["do"] == "memory":
        return {"mb": _peak_memory_bytes() / _BYTES_PER_MB}
    return {}


def _peak_memory_bytes() -> int:
    """Of this process since it began; what getrusage gives would be that of the process that started it, if larger."""
    status = Path("/proc/self/status")
    if status.is_file():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _timed(hears: Listener, waves: Sequence[Wave]) -> float:
    started = time.perf_counter()
    hears(waves)
    return time.perf_counter() - started


if __name__ == "__main__":
    _serve(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
