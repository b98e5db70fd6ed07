"""What a search costs on cached embeddings, and that a kill costs none of its finished trials.

    python -m benchmarks.tune

Works in a fresh clone of this repository: the starter set arrives by a real `dvc pull`. One search of 20 trials fills
the cache of embeddings, another with an empty journal is timed, and a third is killed (SIGKILL) after about half of its
trials and called again. The third must have the trials of the second, setting by setting: with one worker a search
follows from the seed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.command import ROOT, machine, tenuto
from tenuto.workspace import Workspace

TRIALS = 20
SEARCH = ("tune", "--trials", str(TRIALS), "--no-retrain")
KILL_AFTER = TRIALS // 2
DEADLINE_SECONDS = 600
_FINISHED = (1, 2)
"""Complete and pruned, as Optuna's journal has them."""


def main() -> None:
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory(prefix="tenuto-benchmark-") as folder:
        clone = Path(folder) / "tenuto"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        first, seconds = tenuto(clone, *SEARCH)
        show("with no embedding cached", first["tune"], seconds)
        forget(clone)
        whole, seconds = tenuto(clone, *SEARCH)
        show("all embeddings cached", whole["tune"], seconds)
        forget(clone)
        kept = killed(clone)
        resumed, seconds = tenuto(clone, *SEARCH)
        show("called again after the kill", resumed["tune"], seconds)
        prove(kept, resumed["tune"], whole["tune"])
    print(machine())


def show(what: str, tuned: dict[str, Any], seconds: float) -> None:
    """Prints what a search took, alone and with the start of the command and of Prefect."""
    best, present = tuned["best"]["macro_f1"], tuned["present"]["macro_f1"]
    print(
        f"{what}: {tuned['ran']} of {len(tuned['trials'])} trials in {tuned['seconds']['search']:.1f} s, "
        f"the whole command {seconds:.1f} s; macro-F1 {present:.4f} -> {best:.4f}",
        flush=True,
    )


def forget(clone: Path) -> None:
    """Removes the journals of all searches; embeddings stay."""
    shutil.rmtree(Workspace(clone).tunings)


def killed(clone: Path) -> list[dict[str, Any]]:
    """The trials that were finished when the command was killed."""
    command = [sys.executable, "-m", "flows.cli", *SEARCH, "--json"]
    process = subprocess.Popen(command, cwd=clone, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    started = time.monotonic()
    while len(finished(clone)) < KILL_AFTER:
        if process.poll() is not None or time.monotonic() - started > DEADLINE_SECONDS:
            raise SystemExit(f"the search ended before it could be killed (exit {process.poll()})")
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = finished(clone)
    print(f"killed with {len(kept)} trials finished", flush=True)
    return kept


def finished(clone: Path) -> list[dict[str, Any]]:
    """The trials that the journal holds as finished, as they were written."""
    found = []
    for journal in Workspace(clone).tunings.glob("*.log"):
        entries = [json.loads(line) for line in journal.read_text().splitlines(keepends=True) if line.endswith("\n")]
        told = {entry["trial_id"] for entry in entries if "trial_id" in entry and entry.get("state") in _FINISHED}
        found += [
            e["user_attr"]["trial"] for e in entries if "trial" in e.get("user_attr", ()) and e["trial_id"] in told
        ]
    return found


def prove(kept: list[dict[str, Any]], resumed: dict[str, Any], whole: dict[str, Any]) -> None:
    """Prints that no finished trial was run again; ends the benchmark with an error when one was."""
    trials = resumed["trials"]
    is_kept = trials[: len(kept)] == kept
    ran = resumed["ran"]
    settings = [json.dumps(trial["settings"], sort_keys=True) for trial in trials]
    same = [_what(trial) for trial in trials] == [_what(trial) for trial in whole["trials"]]
    print(f"finished before the kill {len(kept)}, run after it {ran}, together {len(trials)} of {TRIALS}")
    print(f"those of before unchanged, seconds included: {is_kept}; settings that were run twice: {_twice(settings)}")
    print(f"the same trials and scores as the search that was not killed: {same}")
    if not is_kept or len(kept) + ran != TRIALS or not same or _twice(settings):
        raise SystemExit("a finished trial was lost or run again")


def _what(trial: dict[str, Any]) -> tuple[Any, ...]:
    return trial["number"], trial["settings"], trial["state"], trial["macro_f1"]


def _twice(settings: list[str]) -> int:
    return len(settings) - len(set(settings))


if __name__ == "__main__":
    main()
