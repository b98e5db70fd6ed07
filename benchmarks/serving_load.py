"""`tenuto serve` under load, against `mlflow models serve` on the same model in the same run.

    python -m benchmarks.serving_load [WORKSPACE] [--seconds 60] [--clients 64]

WORKSPACE is one whose champion was exported; without it one is made from the starter set. Exits 1 when a request fails,
when a promotion and a rollback in the middle are not picked up, or when `tenuto serve` answers less than twice as many
requests a second. The clients share the cores with the servers, and each sends its next clip when it has an answer.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

from benchmarks.command import ROOT, machine, tenuto
from tenuto.settings import load_params
from tenuto.workspace import Workspace

TIMES_FASTER = 2.0
_CLIPS = 64
_STARTS_SECONDS = 180
_THREADS = {"OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


@dataclass
class Load:
    """What clients saw of one server."""

    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    versions: list[str] = field(default_factory=list)
    """Of the answers, in their order, each once in a row."""

    @property
    def per_second(self) -> float:
        return len(self.latencies_ms) / self.seconds

    def percentile(self, share: float) -> float:
        return sorted(self.latencies_ms)[min(int(share * len(self.latencies_ms)), len(self.latencies_ms) - 1)]

    def show(self, name: str) -> None:
        print(
            f"{name}: {self.per_second:.0f} requests/s, p50 {self.percentile(0.5):.0f} ms, "
            f"p95 {self.percentile(0.95):.0f} ms, p99 {self.percentile(0.99):.0f} ms, "
            f"{sum(self.failures.values())} failures of {len(self.latencies_ms)}"
        )
        for failure, count in self.failures.most_common(5):
            print(f"  {count} x {failure}")


def load(address: str, requests: Sequence[bytes], *, clients: int, seconds: float, pause_seconds: float = 0.0) -> Load:
    """What `clients` see that ask for so long, each one request after the other on a connection of its own."""
    seen = Load()
    parts = urlsplit(address)

    async def one(seed: int, until: float) -> None:
        draw = random.Random(seed)
        connection = None
        while time.perf_counter() < until:
            if pause_seconds:
                await asyncio.sleep(draw.expovariate(1 / pause_seconds))
            started = time.perf_counter()
            try:
                connection = connection or await asyncio.open_connection(parts.hostname, parts.port)
                status, body = await _asked(*connection, draw.choice(requests))
                if status != 200:
                    seen.failures[f"status {status}: {body[:120]!r}"] += 1
                elif (version := _version(body)) and (not seen.versions or seen.versions[-1] != version):
                    seen.versions.append(version)
            except (OSError, EOFError) as error:
                seen.failures[f"{type(error).__name__}: {error}"] += 1
                connection = None
            seen.latencies_ms.append((time.perf_counter() - started) * 1000)
        if connection:
            connection[1].close()

    async def everybody() -> None:
        started = time.perf_counter()
        await asyncio.gather(*(one(seed, started + seconds) for seed in range(clients)))
        seen.seconds = time.perf_counter() - started

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(everybody())
    return seen


async def _asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[int, bytes]:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    found = re.search(rb"(?i)content-length: *(\d+)", head)
    if found is None:
        raise OSError(f"no length in {head!r}")
    return int(head.split(b" ", 2)[1]), await reader.readexactly(int(found[1]))


def _version(body: bytes) -> str | None:
    found = re.search(rb'"version":"([^"]*)"', body)
    return found[1].decode() if found else None


def request(address: str, path: str, kind: str, body: bytes) -> bytes:
    """A whole HTTP request."""
    host = urlsplit(address).netloc
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@contextmanager
def process(command: Sequence[str], folder: Path, *, is_read: bool) -> Iterator[subprocess.Popen[str]]:
    """A server's process, ended with the block.

    What nobody reads must not go to a pipe: MLflow writes a line for each request, and stops when the pipe is full.
    """
    # MLflow looks for uvicorn on the path
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = os.environ | _THREADS | {"PYTHONPATH": str(ROOT), "PATH": path}
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            [sys.executable, "-P", "-m", *command],
            cwd=folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE if is_read else log,
            stderr=log,
            start_new_session=True,
        ) as running,
    ):
        try:
            yield running
        except BaseException:
            log.seek(0)
            print(log.read()[-3000:], file=sys.stderr)
            raise
        finally:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGTERM)


@contextmanager
def tenuto_server(workspace: Path, *options: str) -> Iterator[str]:
    """The address of `tenuto serve`."""
    with process(["flows.cli", "serve", "--port", "0", "--json", *options], workspace, is_read=True) as running:
        assert running.stdout
        yield json.loads(running.stdout.readline())["address"]


@contextmanager
def mlflow_server(workspace: Path, uri: str, model: str, workers: int) -> Iterator[str]:
    """The address of `mlflow models serve`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    os.environ["MLFLOW_TRACKING_URI"] = uri
    command = ["mlflow", "models", "serve", "--model-uri", model, "--env-manager", "local"]
    with process([*command, "--port", str(port), "--workers", str(workers)], workspace, is_read=False) as running:
        address, until = f"http://127.0.0.1:{port}", time.monotonic() + _STARTS_SECONDS
        while True:
            with suppress(OSError):
                urllib.request.urlopen(f"{address}/ping", timeout=2).close()
                break
            if time.monotonic() > until or running.poll() is not None:
                raise RuntimeError("mlflow models serve did not start")
            time.sleep(0.2)
        yield address


def compared(workspace: Workspace, *, clients: int, seconds: float, workers: int) -> bool:
    """Prints what both servers do, a promotion and a rollback in between; says whether all is as it should be."""
    from mlflow import MlflowClient

    params = load_params(workspace.params, ())
    uri = f"sqlite:///{workspace.mlflow_db}"
    client = MlflowClient(uri, uri)
    champion = client.get_model_version_by_alias(params.name, "champion")
    # the same model once more, so that what is compared stays the same when it is promoted
    other = client.create_model_version(params.name, champion.source, description=champion.description)
    clips = [path.read_bytes() for path in sorted(workspace.data.rglob("*.flac"))[:_CLIPS]]
    encoded = [json.dumps({"dataframe_split": {"columns": ["audio"], "data": [[base64.b64encode(clip).decode()]]}})
               for clip in clips]  # fmt: skip
    model = f"models:/{params.name}/{champion.version}"
    with (
        mlflow_server(workspace.root, uri, model, workers) as theirs,
        tenuto_server(workspace.root) as ours,
    ):
        asked = [request(theirs, "/invocations", "application/json", body.encode()) for body in encoded]
        ask = [request(ours, "/v1/classify", "audio/flac", clip) for clip in clips]
        load(theirs, asked, clients=clients, seconds=2)
        load(ours, ask, clients=clients, seconds=2)
        before = load(theirs, asked, clients=clients, seconds=seconds / 2)
        with _moves(uri, params.name, [str(other.version), str(champion.version)], seconds / 3) as mover:
            found = load(ours, ask, clients=clients, seconds=seconds)
        after = load(theirs, asked, clients=clients, seconds=seconds / 2)
    before.show("mlflow models serve, before")
    found.show("tenuto serve")
    after.show("mlflow models serve, after")
    times = found.per_second / statistics.mean((before.per_second, after.per_second))
    print(f"{times:.1f} times the requests a second (wanted {TIMES_FASTER:g})")
    first, last = found.versions[0], found.versions[-1]
    is_followed = (
        mover.returncode == 0 and first == last == str(champion.version) and str(other.version) in found.versions
    )
    print(f"promotion and rollback under load: versions {' -> '.join(found.versions)}")
    return is_followed and not found.failures and times >= TIMES_FASTER


@contextmanager
def _moves(uri: str, name: str, versions: Sequence[str], every_seconds: float) -> Iterator[subprocess.Popen[str]]:
    """A process that moves @champion in time with the block, since MLflow's calls here would hold up the clients."""
    code = f"""
import time
from mlflow import MlflowClient
client = MlflowClient({uri!r}, {uri!r})
client.get_registered_model({name!r})
print("ready", flush=True)
for version in {list(versions)!r}:
    time.sleep({every_seconds})
    client.set_registered_model_alias({name!r}, "champion", version)
"""
    command = [sys.executable, "-P", "-c", code]
    with subprocess.Popen(command, env=os.environ | _THREADS, text=True, stdout=subprocess.PIPE) as mover:
        assert mover.stdout
        mover.stdout.readline()
        yield mover


def challenged(workspace: Workspace, seconds: float) -> None:
    """Prints latencies with and without a challenger that hears every request, in turns, at a load that leaves time."""
    from mlflow import MlflowClient

    params = load_params(workspace.params, ())
    client = MlflowClient(f"sqlite:///{workspace.mlflow_db}", f"sqlite:///{workspace.mlflow_db}")
    versions = sorted(int(one.version) for one in client.search_model_versions(f"name='{params.name}'"))
    client.set_registered_model_alias(params.name, "challenger", str(versions[-1]))
    clips = [path.read_bytes() for path in sorted(workspace.data.rglob("*.flac"))[:_CLIPS]]
    with tenuto_server(workspace.root) as alone, tenuto_server(workspace.root, "--challenger", "1") as beside:
        sums: dict[str, Load] = {alone: Load(), beside: Load()}
        for _ in range(6):
            for address, total in sums.items():
                asked = [request(address, "/v1/classify", "audio/flac", clip) for clip in clips]
                found = load(address, asked, clients=8, seconds=seconds / 12, pause_seconds=0.2)
                total.seconds += found.seconds
                total.latencies_ms += found.latencies_ms
                total.failures += found.failures
        metrics = urllib.request.urlopen(f"{beside}/metrics", timeout=10).read().decode()
    sums[alone].show("no challenger")
    sums[beside].show("a challenger hears every request too")
    heard = sum(float(value) for value in re.findall(r'tenuto_clips_total{is_shadow="true".*?} (\S+)', metrics))
    print(f"  of {len(sums[beside].latencies_ms)} requests it heard {heard:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("workspace", nargs="?", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--mlflow-workers", type=int, default=1)
    chosen = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(prefix="tenuto-benchmark-") as scratch:
        folder = Path(scratch) / "tenuto"
        if chosen.workspace:
            shutil.copytree(chosen.workspace, folder, symlinks=True)
        else:
            subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
            tenuto(folder, "retrain")
        workspace = Workspace(folder)
        is_met = compared(workspace, clients=chosen.clients, seconds=chosen.seconds, workers=chosen.mlflow_workers)
        challenged(workspace, chosen.seconds)
    print(machine())
    raise SystemExit(0 if is_met else 1)


if __name__ == "__main__":
    main()
