"""What `make demo` runs, after the installation: times, the rare class and accent, and a second run.

    python -m benchmarks.demo

Works in a fresh clone of this repository, so that the dataset arrives by a real `dvc pull` and nothing is cached.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from benchmarks.command import ROOT, machine, tenuto
from benchmarks.real_speech import show


def main() -> None:
    print(machine())
    with tempfile.TemporaryDirectory(prefix="tenuto-benchmark-") as folder:
        clone = Path(folder) / "tenuto"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        first, seconds = tenuto(clone, "retrain")
        show("starter set", first, seconds)
        for what, with_fill in first["fill"]["with fill"].items():
            print(
                f"  recall, {what}: {first['fill']['without fill'][what]:.2f} -> {with_fill:.2f} with augmentation fill"
            )
        repeat(clone, "on Prefect's embedded server")
        tenuto(clone, "up")
        try:
            repeat(clone, "on a running server")
        finally:
            tenuto(clone, "down")
        findings(clone)
    print(machine())


def repeat(clone: Path, where: str) -> None:
    """Prints how long two further runs take that have nothing to do."""
    for _ in range(2):
        again, seconds = tenuto(clone, "retrain")
        print(f"again, {where}: {again['verdict']}, trained {again['trained']}, {seconds:.1f} s")


def findings(clone: Path) -> None:
    """Prints what validation finds in the starter set."""
    report, _ = tenuto(clone, "data", "check")
    for finding in report["findings"]:
        if not finding["success"]:
            print(f"  {finding['expectation']}: {finding['summary']}")


if __name__ == "__main__":
    main()
