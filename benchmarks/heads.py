"""Heads, pools and truncations on real speakers that no model heard, and what fine-tuning makes of some.

    python -m benchmarks.heads [FOLDER]

Macro-F1 on nicolas and theo with 5, 20 and 100 training clips a digit: the mean of three draws of heads fitted on
frozen embeddings of speech-embedding, then one draw of the whole training with 20 clips a digit. FOLDER (default: a new
one) keeps the embeddings. Data: the Free Spoken Digit Dataset (CC BY-SA 4.0), 3,000 recordings.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import f1_score

from benchmarks.command import FSDD, machine, require_recordings, tenuto
from tenuto.dataset import manifest
from tenuto.learning import embedding, finetune, frozen, preparation, selection
from tenuto.learning.predictor import Predictor
from tenuto.settings import Params, load_params
from tenuto.splitting import splits
from tenuto.workspace import Workspace

SIZES, DRAWS = (5, 20, 100), 3
FITTED = (
    "head=linear",
    "head=mlp",
    "head=prototype",
    "pool=max",
    "pool=statistics",
    "truncate=18",
    "truncate=14",
    "truncate=10",
)
TRAINED = ("head=linear", "head=mlp", "pool=attention", "pool=gru", "adapter_size=16")
TRAINED_SIZE = 20


def main() -> None:
    require_recordings()
    print(machine(), flush=True)
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="tenuto-heads-"))
    root = folder / "digits"
    if not (root / "data.dvc").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        tenuto(folder, "init", root.name)
        tenuto(root, "data", "add", str(FSDD), "--pattern", "{label}_{speaker}_{index}.wav")
    print(f"\nfitted on frozen embeddings: macro-F1, mean of {DRAWS} draws, at {SIZES} clips a digit; seconds to fit")
    for case in FITTED:
        found = [[fitted(root, case, size, draw) for draw in range(DRAWS)] for size in SIZES]
        means = "  ".join(f"{np.mean([f1 for f1, _ in draws]):.3f}" for draws in found)
        print(f"{case:18} {means}   {np.mean([seconds for _, seconds in found[-1]]):.1f} s", flush=True)
    print(f"\nfine-tuned, one draw, {TRAINED_SIZE} clips a digit: macro-F1, what was kept, seconds")
    for case in TRAINED:
        started = time.monotonic()
        f1, origin = trained(root, case)
        print(f"{case:18} {f1:.3f}   {origin}   {time.monotonic() - started:.0f} s", flush=True)


def fitted(root: Path, case: str, size: int, draw: int) -> tuple[float, float]:
    """Macro-F1 on the test clips, and the seconds of fitting once the embeddings are there."""
    params, clips = chosen(root, case, size, draw)
    setup = preparation.set_up(clips, root / "data", params)
    encoder = setup.encoder(setup.pretrained(params))
    test = clips[clips["split"] == "test"]
    cache = Workspace(root).cache
    embedding.embed(clips[clips["split"] != "aside"], root / "data", encoder, cache)
    started = time.monotonic()
    head = frozen.fit_head(setup.material, encoder, params, cache)
    seconds = time.monotonic() - started
    scores = head.logits(embedding.embed(test, root / "data", encoder, cache).vectors)
    return selection.score(scores, setup.material.targets(test)).macro_f1, seconds


def trained(root: Path, case: str) -> tuple[float, str]:
    """Macro-F1 on the test clips of the whole training, and what was kept."""
    params, clips = chosen(root, case, TRAINED_SIZE, 0)
    test = clips[clips["split"] == "test"]
    with tempfile.TemporaryDirectory() as folder:
        made = finetune.train_candidate(clips, root / "data", params, Workspace(root).cache, Path(folder) / "candidate")
        model = Predictor.load(made.path)
        waves = embedding.waves(test, root / "data", model.preprocessing)
        said = np.array(model.labels)[model.predict(waves).argmax(axis=1)]
    return float(f1_score(test["label"], said, average="macro")), made.origin


def chosen(root: Path, case: str, size: int, draw: int) -> tuple[Params, pd.DataFrame]:
    """The settings of a case, and the clips with all but `size` training clips of each digit set aside."""
    params = load_params(root / "params.yaml", ["split.hold_out.speaker=[nicolas, theo]", f"model.{case}"])
    clips = splits.assign(manifest.read(Workspace(root).manifest), params.split).reset_index(drop=True)
    train = clips[clips["split"] == "train"].sample(frac=1, random_state=draw)
    clips.loc[train.groupby("label").cumcount()[lambda place: place >= size].index, "split"] = "aside"
    return params, clips


if __name__ == "__main__":
    main()
