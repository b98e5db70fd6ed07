from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tenuto.sound.audio import encode_wav
from tests.bundles import SAMPLE_RATE_HZ, tone, write_tones

ABSENT = ("prefect", "dvc", "great_expectations", "torch", "transformers", "scipy", "sklearn", "matplotlib")
BLOCKER = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


@contextmanager
def serving(folder: Path, *options: str, environment: dict[str, str] | None = None) -> Iterator[Any]:
    """A `tenuto serve` process of its own, and what it printed once it took requests."""
    command = [sys.executable, "-m", "flows.cli", "serve", "--port", "0", "--json", *options]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | (environment or {}),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert process.stdout
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def classify(address: str, hz: float) -> Any:
    request = urllib.request.Request(f"{address}/v1/classify", encode_wav(tone(hz), SAMPLE_RATE_HZ))
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)["answers"][0]


def test_a_folder_is_served_without_prefect_dvc_or_torch_until_sigterm(tmp_path: Path, project_root: Path) -> None:
    write_tones(tmp_path / "bundle")
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    path = os.pathsep.join([str(tmp_path), str(project_root)])
    with serving(tmp_path, "--bundle", "bundle", environment={"PYTHONPATH": path}) as (process, said):
        assert said["version"] == "bundle"
        assert classify(said["address"], 3000)["label"] == "high"
        # a request that is half sent when the signal comes is answered
        body = encode_wav(tone(300), SAMPLE_RATE_HZ)
        asking = HTTPConnection(said["address"].removeprefix("http://"), timeout=20)
        asking.putrequest("POST", "/v1/classify")
        asking.putheader("Content-Length", str(len(body)))
        asking.endheaders(body[:1000])
        classify(said["address"], 300)  # by now the half is there
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
        asking.send(body[1000:])
        assert json.load(asking.getresponse())["answers"][0]["label"] == "low"
        assert process.wait(20) == 0


def test_an_address_that_is_taken_and_a_folder_without_a_model_are_said_in_a_line(tmp_path: Path) -> None:
    import socket

    from typer.testing import CliRunner

    from flows.cli import app

    write_tones(tmp_path / "bundle")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        run = CliRunner().invoke(app, ["serve", "--port", str(port), "--bundle", str(tmp_path / "bundle")])
        assert run.exit_code == 1
        assert f"error 127.0.0.1:{port} cannot be listened on (Address already in use)" in run.stderr
    run = CliRunner().invoke(app, ["serve", "--bundle", str(tmp_path)])
    assert run.exit_code == 1
    assert "holds no exported model: serving.json is not there" in run.stderr
