"""The embedded default's champion made again: identical weights and metrics, or what differs.

    python -m benchmarks.reproduce

Works in a fresh clone of this repository: `tenuto retrain` on the starter set, then `tenuto reproduce @champion`. Ends
with exit code 1 when the retrain makes no champion, or when what is made again is not identical.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from benchmarks.command import ROOT, machine, tenuto


def main() -> None:
    print(machine())
    with tempfile.TemporaryDirectory(prefix="tenuto-benchmark-") as folder:
        clone = Path(folder) / "tenuto"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        first, seconds = tenuto(clone, "retrain", codes=(0, 2))
        trained = first["metrics"]["candidate"]
        print(f"retrain: {first['verdict']}, macro-F1 {trained['macro_f1']:.3f}, {seconds:.0f} s")
        if first["verdict"] != "promote":
            raise SystemExit(f"no champion to make again: the verdict is {first['verdict']}")
        found, seconds = tenuto(clone, "reproduce", "@champion", codes=(0, 2))
        print(f"reproduce: {found['summary']}, {seconds:.0f} s")
        show(found)
        left = subprocess.run(["git", "worktree", "list"], cwd=clone, capture_output=True, text=True, check=True)
        print(f"  worktrees left over: {len(left.stdout.splitlines()) - 1}")
    print(machine())
    if found["result"] != "identical":
        raise SystemExit(f"not identical: {found['summary']}")


def show(found: dict[str, object]) -> None:
    """Prints what was compared."""
    files, metrics = found["files"], found["metrics"]
    assert isinstance(files, dict) and isinstance(metrics, dict)
    print(f"  files of the checkpoint identical: {sum(files.values())} of {len(files)}")
    print(f"  largest difference of a weight: {found['weight_difference']}")
    print(f"  largest difference of a probability, {found['clips']} test clips: {found['probability_difference']}")
    for name, (recorded, now) in metrics.items():
        print(f"  {name}: {recorded} and {now}")
    if found["note"]:
        print(f"  {found['note']}")


if __name__ == "__main__":
    main()
