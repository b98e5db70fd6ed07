"""What each way of training costs a step, and what it gives: optimizers, averaging, bfloat16, torch.compile.

    python -m benchmarks.training

Digits by two speakers who are not in the training set (Free Spoken Digit Dataset, CC BY-SA 4.0): 8 training clips and
10 validation clips a digit, fine-tuned for 3 epochs from a fitted head, at the default learning rates. The ways take
turns, ROUNDS times, on one thread; the figures are medians. A step includes the reading of its clips, which are not
augmented. Gradient checkpointing is measured on a wav2vec2 of 6 layers with random weights, with the peak memory of a
process for each.
"""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import soundfile
import torch

from benchmarks.command import FSDD, machine, require_recordings
from tenuto.learning import frozen, preparation, selection
from tenuto.learning.training import execution, trainer
from tenuto.learning.training.optimizers import RATE_FACTORS
from tenuto.settings import Params

ROUNDS = 3
ADAMW_RATE = 5e-4
HELD_OUT = ("george", "lucas")
STILL = {"fill": 0, "noise": 0, "gain": 0, "shift": 0, "room": 0, "band_limit": 0, "pitch": 0, "stretch": 0}
WAYS: dict[str, dict[str, Any]] = {
    "adamw": {},
    "sgd": {"optimizer": "sgd"},
    "adafactor": {"optimizer": "adafactor"},
    "lion": {"optimizer": "lion"},
    "ema": {"averaging": "ema"},
    "bfloat16": {"precision": "bfloat16"},
    "compile": {"compile": True},
}


def main() -> None:
    require_recordings()
    torch.set_num_threads(1)
    print(machine(), flush=True)
    clips = recordings()
    with tempfile.TemporaryDirectory(prefix="tenuto-training-") as folder:
        found: dict[str, list[tuple[float, float, float]]] = {way: [] for way in WAYS}
        for number in range(ROUNDS):
            for way, settings in WAYS.items():
                if way != "compile" or number == 0:  # compiles for long
                    found[way].append(trained(clips, settings, Path(folder)))
        show(found)
        validation(clips, Path(folder))
    checkpointing()


def recordings() -> pd.DataFrame:
    """The clips of the training and the validation speakers."""
    rows = []
    for path in sorted(FSDD.glob("*.wav")):
        label, speaker, index = path.stem.split("_")
        split = "validation" if speaker in HELD_OUT else "train"
        if int(index) < (5 if split == "validation" else 2):
            seconds = soundfile.info(path).duration
            rows.append((path.stem, path.name, label, seconds, split))
    return pd.DataFrame(rows, columns=["clip_id", "path", "label", "duration_seconds", "split"])


def trained(clips: pd.DataFrame, settings: dict[str, Any], folder: Path) -> tuple[float, float, float]:
    """Median milliseconds a step, seconds of the first step, and macro-F1 of the best epoch on the validation clips."""
    params = Params.model_validate(
        {"name": "digits", "augment": STILL, "finetune": {"epochs": 3, "batch_size": 16, **settings}}
    )
    setup = preparation.set_up(clips, FSDD, params)
    model = setup.backbone.pretrained(setup.material.labels, seed=0)
    frozen.fit_head(setup.material, setup.encoder(model), params, folder / "cache").install(model)
    rate = params.finetune.learning_rate or ADAMW_RATE * RATE_FACTORS[params.finetune.optimizer]
    times = [time.perf_counter()]
    with tempfile.TemporaryDirectory(dir=folder) as work:
        scores, _ = trainer.train(
            model,
            setup.material,
            params.augment,
            params.finetune,
            learning_rate=rate,
            seed=0,
            work=Path(work),
            on_progress=lambda *_: times.append(time.perf_counter()),
        )
    steps = [after - before for before, after in pairwise(times[1:])]
    return 1000 * statistics.median(steps), times[1] - times[0], scores.macro_f1


def show(found: dict[str, list[tuple[float, float, float]]]) -> None:
    print("\nway                 ms a step   to the plain   first step, s   macro-F1")
    plain = statistics.median(step for step, *_ in found["adamw"])
    for way, runs in found.items():
        step, first, macro_f1 = (statistics.median(column) for column in zip(*runs, strict=True))
        print(f"{way:18} {step:10.1f} {step / plain:14.2f} {first:15.1f} {macro_f1:10.3f}")


def validation(clips: pd.DataFrame, folder: Path) -> None:
    """Validation with clips that are prepared anew, and with those that were kept."""
    setup = preparation.set_up(clips, FSDD, Params.model_validate({"name": "digits", "augment": STILL}))
    model = setup.backbone.pretrained(setup.material.labels, seed=0)
    kept = setup.material
    first = selection.validate(model, kept, 32)
    seconds: dict[str, list[float]] = {"anew": [], "kept": []}
    for _ in range(2 * ROUNDS + 1):
        for name, material in (("anew", replace(kept)), ("kept", kept)):
            started = time.perf_counter()
            assert selection.validate(model, material, 32) == first
            seconds[name].append(time.perf_counter() - started)
    anew, again = (statistics.median(times) for times in seconds.values())
    print(f"\nvalidation of {len(kept.validation)} clips: prepared anew {anew:.2f} s, kept {again:.2f} s")


def checkpointing() -> None:
    """Peak memory and time of a step with and without gradient checkpointing, each in a process of its own."""
    print("\nwav2vec2, 6 layers of 256, 8 clips of 8 s: ms a step, peak MB")
    for is_wanted in (False, True):
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as process:
            milliseconds, megabytes = process.submit(step_of_transformer, is_wanted).result()
        print(f"{'checkpointing' if is_wanted else 'plain':14} {milliseconds:8.0f} {megabytes:8.0f}")


def step_of_transformer(is_wanted: bool) -> tuple[float, float]:
    from transformers import AutoModelForAudioClassification, Wav2Vec2Config

    torch.set_num_threads(1)
    torch.manual_seed(0)
    sizes = {"hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 1024}
    model = AutoModelForAudioClassification.from_config(Wav2Vec2Config(conv_dim=(64,) * 7, **sizes)).train()
    waves = torch.randn(8, 8 * 16_000)
    seconds = []
    with execution.checkpointing(model, is_wanted):
        for _ in range(ROUNDS):
            started = time.perf_counter()
            model(waves).logits.sum().backward()
            model.zero_grad()
            seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
