"""A worse candidate is refused: 100 deliberately mislabelled clips are added after a champion was promoted.

    python -m benchmarks.mislabelled

Data: the Free Spoken Digit Dataset (CC BY-SA 4.0). A hundred recordings of three training speakers are kept back, then
added with the next digit as their label.
"""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

from benchmarks.command import FSDD, machine, require_recordings, tenuto
from benchmarks.real_speech import show

HELD_OUT = "split.hold_out.speaker=[nicolas, theo]"
FEW = 12  # right clips of each digit and speaker
WRONG = range(FEW, FEW + 4)  # 4 x 10 digits x 3 speakers, of which the first hundred are used


def main() -> None:
    require_recordings()
    print(machine())
    with tempfile.TemporaryDirectory(prefix="tenuto-benchmark-") as folder:
        workspace = Path(folder) / "digits"
        tenuto(workspace.parent, "init", workspace.name)
        tenuto(workspace, "data", "add", str(write_table(workspace.parent / "right.csv", right_clips())))
        first, seconds = tenuto(workspace, "retrain", "--set", HELD_OUT, codes=(0, 2))
        show("right labels", first, seconds)
        tenuto(workspace, "data", "add", str(write_table(workspace.parent / "wrong.csv", wrong_clips())))
        second, seconds = tenuto(workspace, "retrain", "--set", HELD_OUT, codes=(0, 2))
        show("and 100 wrong ones", second, seconds)
        versions, _ = tenuto(workspace, "models")
        for row in versions["models"]:
            print(f"  version {row['version']}: {row['aliases']}")


def right_clips() -> list[tuple[Path, str, str]]:
    """Few clips of every training speaker and all of the two that are held out."""
    return [
        (wav, digit, speaker)
        for wav, digit, speaker, index in recordings()
        if index < FEW or speaker in ("nicolas", "theo")
    ]


def wrong_clips() -> list[tuple[Path, str, str]]:
    """A hundred other recordings of training speakers, each labelled as the next digit."""
    wrong = [
        (wav, str((int(digit) + 1) % 10), speaker)
        for wav, digit, speaker, index in recordings()
        if index in WRONG and speaker in ("george", "jackson", "lucas")
    ]
    return wrong[:100]


def recordings() -> list[tuple[Path, str, str, int]]:
    """Path, digit, speaker and index of every recording."""
    parts = [(path, path.stem.split("_")) for path in sorted(FSDD.glob("*.wav"))]
    return [(path, digit, speaker, int(index)) for path, (digit, speaker, index) in parts]


def write_table(path: Path, rows: list[tuple[Path, str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "speaker"))
        writer.writerows(rows)
    return path


if __name__ == "__main__":
    main()
