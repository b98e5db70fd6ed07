"""Evaluations of imagined models whose scores are chosen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from tenuto.records import Evaluation
from tenuto.scoring import evaluation


def clips_table(n: int, labels: int = 10, **groups: int) -> pd.DataFrame:
    """`n` clips of the classes 'c0', 'c1' ... in turn, and groups: speaker=4 gives four speakers 's0' to 's3'."""
    index = np.arange(n)
    table = pd.DataFrame({"clip_id": [f"{i:032x}" for i in index], "label": [f"c{i % labels}" for i in index]})
    table["family"] = table["clip_id"]
    for name, values in groups.items():
        table[f"group_{name}"] = [f"{name[0]}{i // labels % values}" for i in index]
    return table


def imagined(
    clips: pd.DataFrame,
    folder: Path,
    wrong: Mapping[str, float | np.ndarray],
    group: str | None = "speaker",
    seed: int = 0,
) -> Evaluation:
    """An evaluation in which each model is wrong on a share of the clips, or on those of a mask.

    The clips that are hard are hard for all models: a model that is wrong on more is wrong on the same and others.
    It holds the answers, which the gate reads, and no metrics.
    """
    labels = sorted(set(clips["label"]))
    truth = clips["label"].map(labels.index).to_numpy()
    rank = np.random.default_rng(seed).permutation(len(clips)) / len(clips)
    columns, said = {}, {}
    for model, share in wrong.items():
        missed = share if isinstance(share, np.ndarray) else rank < share
        answered = np.where(missed, (truth + 1) % len(labels), truth)
        said[model] = np.array(labels)[answered].tolist()
        columns[model] = np.eye(len(labels))[answered]
    table = evaluation.answer_table(clips, labels, columns, group, said)
    path = folder / "probabilities.parquet"
    table.to_parquet(path, index=False)
    return Evaluation(
        probabilities_path=path,
        labels=tuple(labels),
        metrics={},
        per_class={},
        per_group={},
        gaps={},
        confusion={},
        unit_name=evaluation.unit_name(clips, group),
    )
