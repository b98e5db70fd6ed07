"""The label-efficiency curve on real speakers that no model heard: transfer against the best network from scratch.

    python -m benchmarks.curve [FOLDER]

Macro-F1 at 5, 20 and 100 training clips a digit, three different pairs of speakers held out, three draws each. From
scratch is the better, on the validation clips, of CNN and CRNN at two learning rates. What was trained is kept in
FOLDER (default: a new one), so that a run that was ended goes on; the picture is written to docs/curve.png. Data: the
Free Spoken Digit Dataset (CC BY-SA 4.0), 3,000 recordings.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from benchmarks.command import FSDD, machine, require_recordings, tenuto
from tenuto.dataset import manifest
from tenuto.learning import curve
from tenuto.learning.curve import Curve, Point
from tenuto.reporting import curves
from tenuto.settings import load_params
from tenuto.splitting import splits
from tenuto.workspace import Workspace

PAIRS = (("nicolas", "theo"), ("george", "jackson"), ("lucas", "yweweler"))
SIZES = (5, 20, 100)
SEEDS = 3
PICTURE = Path(__file__).parents[1] / "docs" / "curve.png"


def main() -> None:
    require_recordings()
    print(machine(), flush=True)
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="tenuto-curve-"))
    folder.mkdir(parents=True, exist_ok=True)
    workspace = folder / "digits"
    if not (workspace / "data.dvc").is_file():
        tenuto(folder, "init", workspace.name)
        tenuto(workspace, "data", "add", str(FSDD), "--pattern", "{label}_{speaker}_{index}.wav")
    points = [
        point.model_copy(update={"seed": SEEDS * number + seed})  # a draw is a pair of speakers and a seed
        for number, pair in enumerate(PAIRS)
        for seed in range(SEEDS)
        for point in measured(workspace, pair, seed)
    ]
    found = curve.summarise(points)
    show(found)
    curves.draw(found, PICTURE, title="Spoken digits, speakers that no model heard")
    print(f"picture: {PICTURE.name} in docs/\n{machine()}")


def measured(workspace: Path, pair: tuple[str, ...], seed: int) -> list[Point]:
    """One draw of every size with `pair` held out, from the folder of `workspace` when it is there already."""
    kept = workspace.parent / f"{'-'.join(pair)}-{seed}.json"
    if not kept.is_file():
        held_out = f"split.hold_out.speaker=[{', '.join(pair)}]"
        params = load_params(workspace / "params.yaml", [held_out, f"seed={seed}"])
        clips = splits.assign(manifest.read(Workspace(workspace).manifest), params.split)
        found = curve.measure(clips, workspace / "data", params, Workspace(workspace).cache, SIZES, seeds=1)
        kept.write_text(json.dumps([point.model_dump() for point in found.points]), encoding="utf-8")
    points = [Point(**point) for point in json.loads(kept.read_text(encoding="utf-8"))]
    for point in points:
        print(
            f"{' and '.join(pair)}, draw {seed}: {point.clips_per_class:3} a class, {point.way:8} {point.macro_f1:.3f} "
            f"({point.what}, {point.seconds:.0f} s)",
            flush=True,
        )
    return points


def show(found: Curve) -> None:
    print("\nmacro-F1 over all pairs and draws: mean (95 % interval of the mean), lowest")
    for transfer, scratch in zip(found.transfer, found.scratch, strict=True):
        size = transfer.clips_per_class
        lowest = {
            way: min(p.macro_f1 for p in found.points if p.way == way and p.clips_per_class == size)
            for way in ("transfer", "scratch")
        }
        needed = "more than 100" if found.matched[size] is None else f"about {found.matched[size]:.0f}"
        print(
            f"{size:3} a class: transfer {transfer.mean:.3f} ({transfer.low:.3f}-{transfer.high:.3f}), "
            f"{lowest['transfer']:.3f}; from scratch {scratch.mean:.3f} ({scratch.low:.3f}-{scratch.high:.3f}), "
            f"{lowest['scratch']:.3f}; from scratch needs {needed}"
        )


if __name__ == "__main__":
    main()
