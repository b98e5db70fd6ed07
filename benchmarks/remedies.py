"""What each remedy does for the rare digit and the rare accent of the starter set, and whether one is worth it.

    python -m benchmarks.remedies [SEEDS]

Linear probes on frozen embeddings of the embedded backbone, scored on the test clips of unseen voices, three seeds each
unless SEEDS says otherwise. Fails unless some remedy lifts recall of the rare digit by 0.3 over none at a macro-F1 that
is not lower, and some such remedy recall of the worst accent by 0.03. Works in a fresh clone of
this repository.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.command import ROOT, machine, tenuto
from tenuto.learning.remedies.comparison import Comparison, Trial
from tenuto.learning.remedies.known import NONE
from tenuto.records import Interval

RARE_GAIN = 0.3
WORST_GAIN = 0.03


def main() -> None:
    seeds = sys.argv[1] if len(sys.argv) > 1 else "3"
    with tempfile.TemporaryDirectory(prefix="tenuto-benchmark-") as folder:
        clone = Path(folder) / "tenuto"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        answer, seconds = tenuto(clone, "remedies", "--seeds", seeds)
    found = Comparison.model_validate(answer)
    show(found)
    print(f"{seconds:.0f} s, of which fetching and embedding the clips is a part; {machine()}")
    if missed := shortfalls(found):
        raise SystemExit("; ".join(missed))


def show(found: Comparison) -> None:
    rare = found.rare
    print(
        f"class {rare.label!r} has {rare.label_clips} training clips, {rare.group} {rare.value!r} {rare.value_clips}; "
        f"{found.seeds} trials each, {found.test_clips} test clips. Change over none with its 95 % interval:"
    )
    for trial in found.trials:
        print(
            f"{trial.remedy:28} macro-F1 {figure(trial.macro_f1, trial.macro_f1_gain)}\n"
            f"{'':28} recall {figure(trial.rare_recall, trial.rare_recall_gain)}, "
            f"precision {figure(trial.rare_precision, trial.rare_precision_gain)}"
        )
        if trial.group_recall and trial.worst_group_recall:
            worst = trial.worst_group_recall
            print(
                f"{'':28} {rare.group} {rare.value} {figure(trial.group_recall, trial.group_recall_gain)}, "
                f"worst {trial.worst_group} {worst.value:.3f} ({worst.low:.3f} to {worst.high:.3f})"
            )
    print(f"use {found.use}: {found.why}")


def shortfalls(found: Comparison) -> list[str]:
    """What no remedy achieves, as clauses; empty when one does for the rare class and one for the worst accent."""
    (none,) = [trial for trial in found.trials if trial.remedy == NONE]
    harmless = [t for t in found.trials if t.macro_f1_gain is not None and t.macro_f1_gain.value >= 0]
    missed = []
    if not any(t.rare_recall_gain and t.rare_recall_gain.value >= RARE_GAIN for t in harmless):
        missed.append(f"no remedy lifts recall of {found.rare.label!r} by {RARE_GAIN} at no cost of macro-F1")
    if not any(worst_gain(trial, none) >= WORST_GAIN for trial in harmless):
        missed.append(f"no remedy lifts the worst {found.rare.group} by {WORST_GAIN} at no cost of macro-F1")
    return missed


def worst_gain(trial: Trial, none: Trial) -> float:
    """How far the lowest recall of any accent rises, whichever accent it is each time."""
    if trial.worst_group_recall is None or none.worst_group_recall is None:
        return 0.0
    return trial.worst_group_recall.value - none.worst_group_recall.value


def figure(value: Interval, gain: Interval | None) -> str:
    return f"{value.value:.3f}" + (f" ({gain.value:+.3f}, {gain.low:+.3f} to {gain.high:+.3f})" if gain else "")


if __name__ == "__main__":
    main()
