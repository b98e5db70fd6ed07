"""The label-efficiency curve on real speakers that no model heard: transfer against the best network from scratch.

    python -m benchmarks.curve [FOLDER]

Macro-F1 at 5, 20 and 100 training clips a digit, three different pairs of speakers held out, three draws each. From
scratch is the better of CNN and CRNN at two learning rates, chosen on the validation clips of the first draw of each
pair and size. The points of a pair that is done are kept in FOLDER (default: a new one), so that a run that was ended
goes on with the next; the picture is written to docs/curve.png. Data: the Free Spoken Digit Dataset (CC BY-SA 4.0),
3,000 recordings.
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
        point.model_copy(update={"seed": SEEDS * number + point.seed})  # a draw is a pair of speakers and a seed
        for number, pair in enumerate(PAIRS)
        for point in measured(workspace, pair)
    ]
    found = curve.summarise(points)
    show(found)
    curves.draw(found, PICTURE, title="Spoken digits, speakers that no model heard")
    print(f"picture: {PICTURE.name} in docs/\n{machine()}")


def measured(workspace: Path, pair: tuple[str, ...]) -> list[Point]:
    """All draws with `pair` held out, from the folder of `workspace` when they are there already."""
    kept = workspace.parent / f"{'-'.join(pair)}.json"
    if not kept.is_file():
        params = load_params(workspace / "params.yaml", [f"split.hold_out.speaker=[{', '.join(pair)}]"])
        clips = splits.assign(manifest.read(Workspace(workspace).manifest), params.split)
        cache = Workspace(workspace).cache
        found = curve.measure(clips, workspace / "data", params, cache, SIZES, seeds=SEEDS, on_progress=progress)
        kept.write_text(json.dumps([point.model_dump() for point in found.points]), encoding="utf-8")
    points = [Point(**point) for point in json.loads(kept.read_text(encoding="utf-8"))]
    for point in points:
        print(
            f"{' and '.join(pair)}, draw {point.seed}: {point.clips_per_class:3} a class, {point.way:8} "
            f"{point.macro_f1:.3f} ({point.what}, {point.seconds:.0f} s)",
            flush=True,
        )
    return points


def progress(done: int, total: int) -> None:
    print(f"draw {done} of {total}", file=sys.stderr, flush=True)


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
