"""Macro-F1 on real speakers that no model heard, by the command line and the whole flow.

    python -m benchmarks.real_speech

Two workspaces: four real speakers train and two are tested; then the synthetic starter digits alone train (spoken by
espeak-ng, extra `starter`) and all six real speakers are tested. Data: the Free Spoken Digit Dataset (CC BY-SA 4.0),
3,000 recordings.
"""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.command import FSDD, machine, require_recordings, tenuto

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


def main() -> None:
    require_recordings()
    print(machine())
    with tempfile.TemporaryDirectory(prefix="tenuto-benchmark-") as folder:
        real_to_real(Path(folder) / "real")
        starter_to_real(Path(folder) / "starter")
    print(machine())


def real_to_real(workspace: Path) -> None:
    """Trains on four real speakers, tests on nicolas and theo."""
    tenuto(workspace.parent, "init", workspace.name)
    added, add_seconds = tenuto(workspace, "data", "add", str(FSDD), "--pattern", "{label}_{speaker}_{index}.wav")
    print(f"data add: {added['added']} clips in {add_seconds:.0f} s")
    again, again_seconds = tenuto(workspace, "data", "add", str(FSDD), "--pattern", "{label}_{speaker}_{index}.wav")
    print(f"data add again: {again['unchanged']} unchanged in {again_seconds:.1f} s")
    outcome, seconds = tenuto(workspace, "retrain", "--set", "split.hold_out.speaker=[nicolas, theo]", codes=(0, 2))
    show("four real speakers -> nicolas, theo", outcome, seconds)


def starter_to_real(workspace: Path) -> None:
    """Trains on the starter set alone, tests on all six real speakers."""
    tenuto(workspace.parent, "init", workspace.name)
    tenuto(workspace, "data", "starter")
    tenuto(workspace, "data", "add", str(write_table(workspace.parent / "real.csv")))
    held_out = f"split.hold_out.speaker=[{', '.join(SPEAKERS)}]"
    outcome, seconds = tenuto(workspace, "retrain", "--set", held_out, codes=(0, 2))
    show("starter digits -> six real speakers", outcome, seconds)


def write_table(path: Path) -> Path:
    """A table of the real recordings, with the same labels and group as the starter set."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "speaker"))
        for wav in sorted(FSDD.glob("*.wav")):
            digit, speaker, _ = wav.stem.split("_")
            writer.writerow((wav, digit, speaker))
    return path


def show(title: str, outcome: dict[str, Any], seconds: float) -> None:
    print(f"\n{title}: {outcome['verdict']}, {seconds:.0f} s, model {outcome['model']}")
    for model, metrics in outcome["metrics"].items():
        if metrics:
            print(f"  {model:10} macro-F1 {metrics['macro_f1']:.3f}  accuracy {metrics['accuracy']:.3f}")
    for reason in outcome["reasons"]:
        print(f"  - {reason}")


if __name__ == "__main__":
    main()
