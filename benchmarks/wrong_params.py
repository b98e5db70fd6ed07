"""How long the command line takes to refuse a params.yaml that cannot work: each case in a new process.

    python -m benchmarks.wrong_params

Prints the message, the wall time and the processor time of `tenuto retrain --set ...` for every case, and fails when
one is not refused, is not refused for its reason, or takes longer than two seconds of processor time.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.command import machine, tenuto

MOST_SECONDS = 2.0


@dataclass(frozen=True)
class Case:
    """What is wrong, the settings that are, and words of the message."""

    what: str
    settings: tuple[str, ...]
    words: str
    policy: str = "any"


CASES = (
    Case("unknown key", ("finetune.epoch=3",), "unknown key 'finetune.epoch'; did you mean 'epochs'?"),
    Case("impossible value", ("finetune.epochs=-1",), "greater than or equal to 0"),
    Case("impossible layer", ("model.truncate=40",), "speech-embedding has 20 layers; wanted 1 to 20"),
    Case("too many layers to unfreeze", ("finetune.unfreeze=40",), "speech-embedding has 20 layers"),
    Case("LoRA without attention", ("model.lora_rank=8",), "has no attention"),
    Case("loss for one label, data with many", ("data.labels=many", "imbalance.loss=ldam"), "wanted cross-entropy"),
    Case("loss for many labels, data with one", ("imbalance.loss=asymmetric",), "do not go together; wanted"),
    Case("licence refused", ("backbone=nc",), "forbids commercial use", "commercial"),
    Case("licence unknown", ("backbone=somebody/some-model",), "is unknown", "commercial"),
    Case("only ever from scratch", ("backbone=log-mel-cnn",), "no pre-trained weights"),
    Case("code from the hub", ("backbone=mispeech/ced-tiny",), "does not load here"),
    Case("no classifier", ("backbone=laion/clap-htsat-unfused",), "wanted another pool"),
    Case("no such folder", ("backbone=models/absent/",), "there is no folder"),
    Case("folder without config.json", ("backbone=data",), "has no config.json"),
    Case("misspelt backbone", ("backbone=microsoft/wavlm-base-pls",), "did you mean 'microsoft/wavlm-base-plus'?"),
)


def main() -> None:
    print(machine())
    with tempfile.TemporaryDirectory(prefix="tenuto-benchmark-") as folder:
        workspace = Path(folder) / "digits"
        tenuto(workspace.parent, "init", workspace.name)
        fill(workspace)
        worst = max(refused(workspace, case) for case in CASES)
    print(f"the slowest took {worst:.2f} s of processor time; {machine()}")
    if worst > MOST_SECONDS:
        raise SystemExit(f"more than {MOST_SECONDS:g} s")


def fill(workspace: Path) -> None:
    """Puts a checkpoint folder whose licence forbids commercial use into a workspace, and an empty data folder."""
    (workspace / "data").mkdir(exist_ok=True)
    checkpoint = workspace / "nc"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text('{"model_type": "hubert", "num_hidden_layers": 12}')
    (checkpoint / "model.safetensors").touch()
    (checkpoint / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")


def set_policy(workspace: Path, licences: str) -> None:
    policy = workspace / "mlflow" / "promotion.yaml"
    policy.write_text(re.sub(r"(?m)^licences: .*$", f"licences: {licences}", policy.read_text()))


def refused(workspace: Path, case: Case) -> float:
    """Seconds of processor time until the refusal, which is printed; RuntimeError when it is not the one expected."""
    set_policy(workspace, case.policy)
    settings = [part for setting in case.settings for part in ("--set", setting)]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-m", "flows.cli", "retrain", *settings, "--json"],
        cwd=workspace,
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_CACHE": str(workspace / "hub"), "HF_HUB_OFFLINE": "0"},
    )
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if run.returncode != 1 or case.words not in json.loads(run.stdout)["error"]:
        raise RuntimeError(f"{case.what}: exit {run.returncode}\n{run.stdout}\n{run.stderr}")
    print(f"{case.what}: {wall:.2f} s, {seconds:.2f} s of processor time\n    {json.loads(run.stdout)['error']}")
    return seconds


if __name__ == "__main__":
    main()
