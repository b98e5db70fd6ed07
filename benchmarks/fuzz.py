"""A server that is fed garbage: its own OpenAPI explored by schemathesis, and mutated audio files by the thousand.

    python -m benchmarks.fuzz [--bodies 10000]

A real `tenuto serve` process with a log that keeps recordings and a tiny model, so that decoding, guard, log and
connections are what is tested. The bodies are recordings of seven formats with bits flipped, parts cut, doubled,
swapped or lied about in headers, sent as they are, in forms and as base64, by eight clients at once; some connections
break off in the middle. Exit code 1 when any answer is a 5xx (but for 503), memory grows beyond the bound, the server
is not alive at the end or no longer right, or schemathesis finds a failure.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.command import machine
from tests.bundles import SAMPLE_RATE_HZ, tone, write_tones
from tests.recordings import coded, speechlike

CLIENTS = 8
EXAMPLES = 100
MEMORY_BOUND_MB = 500.0
"""By which the server may grow over what it holds when it is warm: two recordings of the largest size being decoded."""
LEAK_BOUND_MB = 60.0
"""By which it may have grown between the middle and the end."""
_FORMATS = (
    ("WAV", "PCM_16"),
    ("WAV", "FLOAT"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", None),
    ("AIFF", "PCM_24"),
)
_LIES = (b"\xff" * 4, b"\x00" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x01", b"\x01\x00\x00\x00")
_SERVER = """
import sys
from pathlib import Path
from flows import serve
from tenuto.serving.settings import ServingSettings
settings = ServingSettings.model_validate({"log": {"keep_audio_days": 1}, "limits": {"upload_timeout_seconds": 5}})
folder = Path(sys.argv[1])
serve.serve(serve.folder(folder / "bundle"), settings, log=folder / "served.sqlite", host="127.0.0.1", port=0,
            threads=1, on_ready=lambda _, address: print(address, flush=True))
"""


@dataclass
class Found:
    """What became of the bodies."""

    statuses: Counter[int]
    broken_off: int
    wrong: list[str]
    """Bodies, by the number that they are made from, with a 5xx or an answer that is no JSON."""


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--bodies", type=int, default=10_000)
    asked = options.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(prefix="tenuto-benchmark-") as folder, served(Path(folder)) as (address, process):
        warm = send(address, range(-200, 0))
        begin_mb = resident_mb(process.pid)
        half = asked.bodies // 2
        with peak_of(process.pid) as peak:
            found = [send(address, range(half))]
            middle_mb = resident_mb(process.pid)
            found.append(send(address, range(half, asked.bodies)))
            end_mb = resident_mb(process.pid)
        explored = explore(address)
        after_mb = resident_mb(process.pid)
        problems = [*warm.wrong, *(wrong for part in found for wrong in part.wrong)]
        statuses = sum((part.statuses for part in found), Counter())
        print(f"{asked.bodies} mutated bodies: {dict(sorted(statuses.items()))}, "
              f"{sum(part.broken_off for part in found)} broken off")  # fmt: skip
        print(f"schemathesis: {explored}")
        print(f"memory: {begin_mb:.0f} MB warm, {peak[0]:.0f} at most, {middle_mb:.0f} in the middle, "
              f"{end_mb:.0f} after the bodies, {after_mb:.0f} after schemathesis")  # fmt: skip
        problems += [] if is_right(address) else ["the server does not answer, or wrongly"]
        problems += [f"memory grew by {peak[0] - begin_mb:.0f} MB"] if peak[0] - begin_mb > MEMORY_BOUND_MB else []
        problems += [f"memory leaks: {end_mb - middle_mb:.0f} MB"] if end_mb - middle_mb > LEAK_BOUND_MB else []
        problems += [] if explored.startswith("no failures") else ["schemathesis found failures"]
    if problems:
        raise SystemExit("\n".join(problems[:20]))


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Address and process of a server of a tiny model."""
    write_tones(folder / "bundle")
    with (folder / "server.txt").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _SERVER, str(folder)], stdout=subprocess.PIPE, stderr=said, text=True
        )
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            if not address:
                raise RuntimeError((folder / "server.txt").read_text())
            yield address, process
        finally:
            process.terminate()
            process.wait(60)
            traces = re.findall(
                r"Traceback[\s\S]*?\n\S*(?:Error|Exception|Interrupt)[^\n]*", Path(said.name).read_text()
            )
            for trace, times in Counter(traces).most_common(3):
                print(f"{times} times in the server's log: {trace[-600:]}")


def send(address: str, numbers: range) -> Found:
    """Sends the bodies with these numbers."""
    found = Found(Counter(), 0, [])
    with (
        httpx.Client(base_url=address, timeout=60, limits=httpx.Limits(max_connections=CLIENTS)) as client,
        ThreadPoolExecutor(CLIENTS) as pool,
    ):
        for number, answer in zip(numbers, pool.map(lambda number: sent(client, number), numbers), strict=True):
            if answer is None:
                found.broken_off += 1
                continue
            found.statuses[answer.status_code] += 1
            if said := fault(answer):
                found.wrong.append(f"body {number}: {said}")
    return found


def fault(answer: Any) -> str:
    """What is wrong with an answer, '' when nothing is: neither the answers nor a problem that names what to do."""
    try:
        told = answer.json()
    except ValueError:
        return f"{answer.status_code}, no JSON: {answer.text[:200]}"
    if answer.status_code == 200:
        probabilities = [value for one in told["answers"] for value in one["probabilities"].values()]
        return "" if all(0 <= value <= 1 for value in probabilities) else f"probabilities {probabilities}"
    is_problem = answer.headers["content-type"] == "application/problem+json" and told["detail"]
    return (
        "" if is_problem and (answer.status_code < 500 or answer.status_code == 503) else f"{answer.status_code} {told}"
    )


def sent(client: Any, number: int) -> Any:
    """The answer to one body; None when the client broke off."""
    rng = np.random.default_rng([7, number + 1_000_000])
    body, way = mutated(rng), number % 8
    if way == 0:
        return client.post("/v1/classify", files=[("file", (f"{n}.wav", body)) for n in range(1 + number % 3)])
    if way == 1:
        return client.post("/v1/classify", json={"clips": [{"audio": base64.b64encode(body).decode()}]})
    if way == 2:
        text = mangled(rng, json.dumps({"clips": [{"samples": [0.1] * 50, "sample_rate_hz": 8000}]}).encode())
        return client.post("/v1/classify", content=text, headers={"Content-Type": "application/json"})
    if way == 3:
        form = client.build_request("POST", "/v1/classify", files={"file": ("a.wav", body)})
        text = mangled(rng, form.read())
        return client.post("/v1/classify", content=text, headers={"Content-Type": form.headers["Content-Type"]})
    if way == 4 and number % 5 == 0:
        with suppress(httpx.HTTPError):
            client.post("/v1/classify", content=broken_off(body))
        return None
    if way == 5:
        return client.post("/v1/classify", content=(body[at : at + 999] for at in range(0, len(body), 999)))
    return client.post("/v1/classify", content=body, headers={"Content-Type": "audio/wav"})


def broken_off(body: bytes) -> Iterator[bytes]:
    yield body[: len(body) // 2]
    raise httpx.WriteError("the client goes away")


def mutated(rng: np.random.Generator) -> bytes:
    """A recording that something happened to, or bytes that never were one."""
    if rng.random() < 0.03:
        return rng.bytes(int(rng.integers(0, 5000)))
    file_format, subtype = _FORMATS[rng.integers(len(_FORMATS))]
    wave = speechlike(int(rng.integers(20)), float(rng.uniform(0.01, 0.5)))
    samples = np.stack([wave] * int(rng.integers(2, 9)), axis=1) if rng.random() < 0.1 else wave
    rate_hz = int(rng.choice([8000, 16_000, 48_000]))
    with suppress(Exception):  # not every format holds eight channels
        return mangled(rng, coded(samples, rate_hz, file_format, subtype))
    return mangled(rng, coded(wave, rate_hz, file_format, subtype))


def mangled(rng: np.random.Generator, data: bytes) -> bytes:
    """The bytes after one to four accidents."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        _ACCIDENTS[rng.integers(len(_ACCIDENTS))](rng, changed)
    return bytes(changed)


def _flip(rng: np.random.Generator, data: bytearray) -> None:
    # accidents in the first bytes, the header, are the most interesting
    for _ in range(int(rng.integers(1, 20))):
        if data:
            data[int(len(data) * rng.random() ** 3)] ^= 1 << int(rng.integers(8))


def _lie(rng: np.random.Generator, data: bytearray) -> None:
    at = int(rng.integers(0, min(len(data), 100) + 1))
    data[at : at + 4] = _LIES[rng.integers(len(_LIES))]


def _cut(rng: np.random.Generator, data: bytearray) -> None:
    del data[int(rng.integers(0, len(data) + 1)) :]


def _drop(rng: np.random.Generator, data: bytearray) -> None:
    at = int(rng.integers(0, len(data) + 1))
    del data[at : at + int(rng.integers(1, 500))]


def _double(rng: np.random.Generator, data: bytearray) -> None:
    at = int(rng.integers(0, len(data) + 1))
    data[at:at] = data[at : at + int(rng.integers(1, 2000))] * int(rng.integers(1, 4))


def _scramble(rng: np.random.Generator, data: bytearray) -> None:
    at = int(rng.integers(0, len(data) + 1))
    size = len(data[at : at + int(rng.integers(1, 200))])
    data[at : at + size] = rng.bytes(size)


_ACCIDENTS = (_flip, _lie, _cut, _drop, _double, _scramble)


def explore(address: str) -> str:
    """The last line of what schemathesis says of the server, and its failures before it.

    What the schema allows may be refused: it cannot say which bytes are a recording.
    """
    run = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "run", f"{address}/openapi.json", "-n", str(EXAMPLES), "--seed", "7",
         "--no-color", "--checks", "all", "--exclude-checks", "positive_data_acceptance"],
        capture_output=True, text=True,
    )  # fmt: skip
    lines = [line for line in run.stdout.splitlines() if line.strip()]
    return (
        f"no failures, {lines[-1].strip('= ')}"
        if run.returncode == 0
        else "\n".join([run.stderr[-2000:], *lines[-80:]])
    )


def is_right(address: str) -> bool:
    """Whether the server still tells a high tone from a low one."""
    clips = [{"samples": tone(hz).tolist(), "sample_rate_hz": SAMPLE_RATE_HZ} for hz in (3000, 300)]
    answers = httpx.post(f"{address}/v1/classify", json={"clips": clips}).json()["answers"]
    return [answer["label"] for answer in answers] == ["high", "low"]


def resident_mb(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]) / 1000


@contextmanager
def peak_of(pid: int) -> Iterator[list[float]]:
    """A list with the most memory that the process held meanwhile, in MB."""
    peak, is_over = [resident_mb(pid)], threading.Event()

    def watch() -> None:
        while not is_over.wait(0.02):
            peak[0] = max(peak[0], resident_mb(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        is_over.set()
        thread.join()


if __name__ == "__main__":
    began = time.perf_counter()
    main()
    print(f"{time.perf_counter() - began:.0f} s")
