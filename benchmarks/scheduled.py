"""A worker of a real Prefect server registers a version on a real MLflow server, then finds nothing to do.

    python -m benchmarks.scheduled

Both servers, the one-minute cron and the worker run on this machine; the data are 300 real recordings (Free Spoken
Digit Dataset, CC BY-SA 4.0).
"""

from __future__ import annotations

import json
import shlex
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.command import machine, require_recordings, tenuto
from benchmarks.mislabelled import recordings, write_table

LONGEST_SECONDS = 900


def main() -> None:
    require_recordings()
    print(machine())
    with tempfile.TemporaryDirectory(prefix="tenuto-benchmark-") as folder:
        workspace = Path(folder) / "nightly"
        tenuto(workspace.parent, "init", workspace.name)
        few = [(path, digit, speaker) for path, digit, speaker, index in recordings() if index < 5]
        tenuto(workspace, "data", "add", str(write_table(workspace.parent / "few.csv", few)))
        servers, seconds = tenuto(workspace, "up")
        print(f"up after {seconds:.0f} s: {servers['prefect']['address']}, {servers['mlflow']['address']}")
        try:
            watch(workspace, servers["prefect"]["address"])
        finally:
            tenuto(workspace, "down")
    print(machine())


def watch(workspace: Path, prefect: str) -> None:
    """Schedules the flow every minute, starts a worker, and prints what its first two finished runs came to."""
    deployment, _ = tenuto(workspace, "deploy", "--cron", "* * * * *")
    print(f"scheduled {deployment['name']}, {deployment['cron']}; worker: pool {deployment['work_pool']}")
    started = time.monotonic()
    worker = subprocess.Popen(
        ["env", *shlex.split(deployment["worker"])], cwd=workspace, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: len(concluded(prefect)) >= 2)
        for run in concluded(prefect)[:2]:
            print(f"  {run['name']}: {run['state']['name']}, {run['total_run_time']:.0f} s; {run['state']['message']}")
    finally:
        worker.terminate()
        worker.wait()
    print(f"both {time.monotonic() - started:.0f} s after the worker started")
    for row in tenuto(workspace, "models")[0]["models"]:
        print(f"  version {row['version']}: {row['verdict']}, aliases {row['aliases']}, macro-F1 {row['macro_f1']}")


def concluded(prefect: str) -> list[dict[str, Any]]:
    """The completed flow runs that were not overtaken by a newer one, the oldest first; raises when one failed."""
    body = json.dumps({"sort": "EXPECTED_START_TIME_ASC", "limit": 50}).encode()
    request = urllib.request.Request(f"{prefect}/flow_runs/filter", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        runs: list[dict[str, Any]] = json.load(answer)
    if failed := [run for run in runs if run["state_type"] in ("FAILED", "CRASHED")]:
        raise RuntimeError(f"{failed[0]['name']}: {failed[0]['state']['message']}")
    return [run for run in runs if run["state_type"] == "COMPLETED" and run["state_name"] != "Superseded"]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONGEST_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"nothing after {LONGEST_SECONDS} s")
        time.sleep(2)


if __name__ == "__main__":
    main()
