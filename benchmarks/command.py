"""Runs the `tenuto` command in throw-away workspaces, and says what machine it ran on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FSDD = Path(os.environ.get("TENUTO_FSDD") or ROOT.parent / "shared/data/fsdd/recordings")
"""The 3,000 recordings of the Free Spoken Digit Dataset: TENUTO_FSDD, else where they lie beside this checkout.

Tests take them from here too, so that both hear the same files.
"""

ABSENT = f"the Free Spoken Digit recordings are not at {FSDD}; set TENUTO_FSDD to their folder"


def tenuto(folder: Path, *arguments: str, codes: tuple[int, ...] = (0,)) -> tuple[dict[str, Any], float]:
    """The JSON object that `tenuto ... --json` printed in `folder`, and its wall time in seconds.

    Raises RuntimeError with what it wrote to stderr when its exit code is not one of `codes`.
    """
    started = time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments, "--json"], cwd=folder, capture_output=True, text=True
    )
    seconds = time.perf_counter() - started
    if run.returncode not in codes:
        raise RuntimeError(f"tenuto {' '.join(arguments)}: exit {run.returncode}\n{run.stdout}\n{run.stderr}")
    return json.loads(run.stdout.splitlines()[-1]), seconds


def machine() -> str:
    """Cores and load, for the figures' footing."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{os.cpu_count()} cores, load average {load}"


def require_recordings() -> None:
    """Ends the benchmark, saying what it needs, where the real recordings are absent."""
    if not FSDD.is_dir():
        raise SystemExit(ABSENT)
