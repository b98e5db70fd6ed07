"""Consent withdrawn: one speaker erased from a workspace whose servers run, and every byte of it searched for her.

    python -m benchmarks.erase

Synthetic recordings, 42 by seven speakers. The search (`benchmarks.search`) knows nothing of the erasure. Exit
code 1 when anything of her is found afterwards, nothing was found before, or a clip of somebody else changed its split.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.command import machine, tenuto
from benchmarks.search import Found, needles, search
from tenuto.dataset import manifest
from tenuto.settings import SplitSettings
from tenuto.sound import audio
from tenuto.splitting import holdout, splits
from tests import chirps
from tests.recordings import speechlike

SPEAKER = "Zyxelquor"
SPEAKERS = ("ann", "ben", "cat", "dan", "eve", "fay", SPEAKER)
QUICK = ("--set", "finetune.epochs=1", "--set", "threads=1", "--set", "evaluate.noise_snr_db=[10]")
POLICY = """\
rules:
  - {name: good enough, metric: accuracy, at_least: 0.0, severity: reject}
  - {name: every speaker, metric: accuracy, of: worst group=speaker, at_least: 0.0, severity: hold}
"""


def main() -> None:
    print(machine())
    with tempfile.TemporaryDirectory(prefix="tenuto-benchmark-") as folder:
        root = Path(folder) / "chirps"
        tenuto(root.parent, "init", root.name)
        tenuto(root, "up")
        try:
            fill(root)
            wanted = of_speaker(root)
            before, divided_before = search(root, wanted), divided(root)
            _, seconds = tenuto(root, "erase", "--group", f"speaker={SPEAKER}", "--reason", "a letter", "--yes")
            after, divided_after = search(root, wanted, skip="erasures/"), divided(root)
        finally:
            tenuto(root, "down")
        show(before, after, seconds)
        check(before, after)
        moved = int((divided_after != divided_before[divided_after.index]).sum())
        print(f"{moved} of the other {len(divided_after)} clips in another split than before")
        if moved:
            raise SystemExit("the erasure moved clips of others")


def fill(root: Path) -> None:
    """Two retrains: one scores the speaker, who is named on the command line, the other trains on her."""
    source = root.parent / "recordings"
    write_recordings(source)
    tenuto(root, "data", "add", str(source), "--pattern", "{label}_{speaker}_{index}.wav")
    (root / "mlflow" / "promotion.yaml").write_text(POLICY)
    commit(root)
    hold_out = ("--set", f"split.hold_out.speaker=[{SPEAKER}]")
    tenuto(root, "retrain", *QUICK, *hold_out, codes=(0, 2))
    tenuto(root, "retrain", *QUICK, "--set", "split.hold_out.speaker=[ann, ben]", codes=(0, 2))
    tenuto(root, "audit", "--group", f"speaker={SPEAKER}")


def write_recordings(folder: Path) -> None:
    """Two recordings of three classes by each speaker."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    for label in chirps.SLOPES:
        for speaker in SPEAKERS:
            for index in range(2):
                murmur = speechlike(int(rng.integers(1 << 30)), seconds=0.8)
                wave = chirps.chirp(label, rng, seconds=0.8) + 0.5 * murmur
                data = audio.encode_wav(wave, chirps.RATE_HZ)
                (folder / f"{label}_{speaker}_{index}.wav").write_bytes(data)


def commit(root: Path) -> None:
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "recordings"], check=True)


def of_speaker(root: Path) -> dict[str, list[bytes]]:
    """All that must not be found any more."""
    table = manifest.read(root / "data" / "manifest.parquet")
    hers = table[table["group_speaker"] == SPEAKER]
    recordings = {row.clip_id: root / "data" / row.path for row in hers.itertuples()}
    words = {"ids": list(hers["clip_id"]), "file names": list(hers["source"]), "name": [SPEAKER, SPEAKER.lower()]}
    return needles(recordings, words)


def divided(root: Path) -> pd.Series:
    """The split of every clip by its id."""
    table = manifest.read(root / "data" / "manifest.parquet")
    return splits.assign(table, SplitSettings(), holdout.read(root / "holdout.yaml")).set_index("clip_id")["split"]


def show(before: Found, after: Found, seconds: float) -> None:
    kinds = ("whole files", "pieces of files", "pieces of samples", "ids", "file names", "name")
    print(f"{'place':34}{'files':>12}  " + "".join(f"{kind:>20}" for kind in kinds))
    for place in sorted({*before[1], *after[1]}):
        cells = [f"{before[1].get(place, {}).get(kind, 0)} -> {after[1].get(place, {}).get(kind, 0)}" for kind in kinds]
        files = f"{before[0][place]} -> {after[0][place]}"
        print(f"{place:34}{files:>12}  " + "".join(f"{cell:>20}" for cell in cells))
    print(f"{sum(before[0].values())} files searched before, {sum(after[0].values())} after")
    print(f"hits {hits(before)} before, {hits(after)} after; erased in {seconds:.1f} s")


def check(before: Found, after: Found) -> None:
    """Ends the benchmark when something of her is left, or when the search was blind from the beginning."""
    if not hits(before):
        raise SystemExit("the search found nothing before the erasure: it proves nothing")
    if hits(after):
        raise SystemExit(f"{hits(after)} hits are left after the erasure")


def hits(found: Found) -> int:
    """How often anything of her was found, all places and kinds together."""
    return sum(sum(counts.values()) for counts in found[1].values())


if __name__ == "__main__":
    main()
