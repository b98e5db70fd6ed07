"""Ten minutes of real speech, streamed at ten times its speed, against the same windows classified offline.

    python -m benchmarks.streaming BUNDLE

BUNDLE is the folder of an exported model: `serving` beside the checkpoint of a logged model. The recordings of the Free
Spoken Digit Dataset are strung together with pauses and sent to `tenuto serve`, a tenth of a second of sound at a time.
Prints how many windows got the label that they get offline, the latency of the answers, how far the last one was
behind, and the server's memory; fails when a label differs or memory grew by more than a bound.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.command import FSDD, machine, require_recordings
from tenuto.serving.hearing.classifier import Classifier
from tenuto.serving.settings import StreamSettings
from tenuto.serving.streaming.stream import starts, window_samples
from tenuto.sound.audio import Recording, waveform

RATE_HZ = 8000
PIECE_SECONDS = 0.1
PAUSE_SECONDS = (0.2, 1.5)
MOST_GROWTH_MB = 10.0
"""Of the server's resident memory from a tenth of the stream to its end."""


@dataclass
class Streamed:
    """What a client saw of one stream."""

    windows: list[dict[str, Any]] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    seconds: float = 0.0
    behind_seconds: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--speed", type=float, default=10.0)
    options = parser.parse_args()
    require_recordings()
    print(machine())
    sound = speech(options.minutes * 60)
    streamed = through_server(options.bundle, sound, options.speed)
    differing, difference = compared(options.bundle, sound, streamed.windows)
    latencies = np.array([window["latency_ms"] for window in streamed.windows])
    early = streamed.memory_mb[len(streamed.memory_mb) // 10]
    growth = max(streamed.memory_mb[-1], streamed.memory_mb[-2]) - early
    print(
        f"{len(sound) / RATE_HZ:.0f} s of speech in {streamed.seconds:.1f} s: {len(streamed.windows)} windows, "
        f"{differing} with another label than offline, probabilities within {difference:.1e}"
    )
    print(
        f"latency p50 {np.median(latencies):.1f} ms, p95 {np.percentile(latencies, 95):.1f} ms, "
        f"p99 {np.percentile(latencies, 99):.1f} ms; the last answer {streamed.behind_seconds:.2f} s after the sound"
    )
    print(f"memory {early:.1f} MB after a tenth of the stream, {growth:+.1f} MB at its end; {machine()}")
    if differing or growth > MOST_GROWTH_MB:
        raise SystemExit(f"wanted no window with another label and {MOST_GROWTH_MB:g} MB of growth at most")


def speech(seconds: float) -> np.ndarray:
    """(n,) int16 at RATE_HZ: recordings in a random order, with pauses of faint noise between them."""
    generator = np.random.default_rng(0)
    paths = sorted(FSDD.glob("*.wav"))
    parts: list[np.ndarray] = []
    while sum(map(len, parts)) < seconds * RATE_HZ:
        parts.append(soundfile.read(paths[generator.integers(len(paths))], dtype="int16")[0])
        parts.append(generator.normal(0, 20, round(generator.uniform(*PAUSE_SECONDS) * RATE_HZ)).astype(np.int16))
    return np.concatenate(parts)[: round(seconds * RATE_HZ)]


def through_server(bundle: Path, sound: np.ndarray, speed: float) -> Streamed:
    """The answers of `tenuto serve` in a process of its own."""
    command = [sys.executable, "-m", "flows.cli", "serve", "--bundle", str(bundle.resolve()), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = json.loads(server.stdout.readline())["address"]
            return asyncio.run(streamed(address, server.pid, sound, speed))
        finally:
            server.terminate()


async def streamed(address: str, pid: int, sound: np.ndarray, speed: float) -> Streamed:
    """The answers to a sound that is sent so many times as fast as it was recorded."""
    found = Streamed()
    async with connect(address.replace("http", "ws", 1) + "/v1/stream", max_size=None) as socket:
        await socket.send(json.dumps({"sample_rate_hz": RATE_HZ, "format": "s16le"}))
        reading = asyncio.create_task(answers(socket, found))
        started = time.perf_counter()
        piece = round(PIECE_SECONDS * RATE_HZ)
        for number, at in enumerate(range(0, len(sound), piece)):
            await asyncio.sleep(started + number * PIECE_SECONDS / speed - time.perf_counter())
            await socket.send(sound[at : at + piece].astype("<i2").tobytes())
            if number % round(1 / PIECE_SECONDS) == 0:
                found.memory_mb.append(resident_mb(pid))
        ended = time.perf_counter()
        await socket.send('{"end": true}')
        await reading
        found.seconds, found.behind_seconds = time.perf_counter() - started, time.perf_counter() - ended
        found.memory_mb.append(resident_mb(pid))
    return found


async def answers(socket: ClientConnection, found: Streamed) -> None:
    async for message in socket:
        answer = json.loads(message)
        if answer["type"] == "error":
            raise RuntimeError(answer["detail"])
        if answer["type"] == "window":
            found.windows.append(answer)


def compared(bundle: Path, sound: np.ndarray, windows: list[dict[str, Any]]) -> tuple[int, float]:
    """How many windows got another label than offline, and the largest difference between probabilities."""
    classifier = Classifier.load(bundle)
    rate_hz = classifier.sample_rate_hz
    window, hop = window_samples(classifier.framing, StreamSettings())
    wave = soxr.resample(sound.astype(np.float32) / 32768, RATE_HZ, rate_hz, quality="HQ")
    begins = starts(len(wave), window, hop)
    if len(begins) != len(windows):
        raise RuntimeError(f"{len(begins)} windows offline, {len(windows)} in the stream")
    heard = classifier.hear(
        waveform(Recording(wave[begin : begin + window, None], rate_hz, "", False), rate_hz) for begin in begins
    )
    differing, difference = 0, 0.0
    for row, answer in enumerate(windows):
        given = [label for label, is_given in zip(classifier.labels, heard.decided[row], strict=True) if is_given]
        offline = "unknown" if heard.is_unknown[row] else ";".join(given)
        differing += offline != answer["label"]
        found = np.array([answer["probabilities"][label] for label in classifier.labels])
        difference = max(difference, float(np.abs(found - heard.probabilities[row]).max()))
    return differing, difference


def resident_mb(pid: int) -> float:
    """Memory of a process that is in RAM."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1000


if __name__ == "__main__":
    main()
