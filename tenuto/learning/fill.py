"""What filling up rare classes and groups with augmented copies is worth, by heads on frozen embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tenuto import labels as label_text
from tenuto.learning import embedding, frozen, preparation
from tenuto.learning.batches import Material
from tenuto.learning.calibration import PLAIN
from tenuto.learning.probe import FittedHead
from tenuto.records import GROUP_PREFIX, FillComparison
from tenuto.settings import Params


def compare(clips: pd.DataFrame, data: Path, params: Params, cache: Path) -> FillComparison:
    """Recall of filled classes and groups on the test split, by heads on frozen embeddings with and without copies."""
    setup = preparation.set_up(clips, data, params)
    encoder = setup.encoder(setup.pretrained(params))
    test = clips[clips["split"] == "test"]
    if setup.material.kind == "one":
        test = test[test["label"].isin(setup.material.labels)]
    vectors = embedding.embed(test, data, encoder, cache).vectors
    copies = setup.material.train.get("reason", pd.Series(dtype=str)).dropna()
    plain = preparation.without_copies(setup.material, params)
    recall = {
        name: _recalls(frozen.fit_head(material, encoder, params, cache), vectors, test, material, copies.unique())
        for name, material in {"without fill": plain, "with fill": setup.material}.items()
    }
    return FillComparison(copies={str(k): int(n) for k, n in sorted(copies.value_counts().items())}, recall=recall)


def _recalls(
    fitted: FittedHead, vectors: Any, test: pd.DataFrame, material: Material, reasons: Any
) -> dict[str, float]:
    """Recall of each `name=value` that has test clips, and over all classes."""
    said = PLAIN.decide(PLAIN.probabilities(fitted.logits(vectors), material.kind), material.kind)
    truth = label_text.matrix(test["label"].to_numpy(), material.labels, material.kind)
    by_label = {f"label={name}": said[truth[:, place], place] for place, name in enumerate(material.labels)}
    recalls = {"macro": float(np.mean([hits.mean() for hits in by_label.values() if len(hits)]))}
    for reason in sorted(reasons):
        name, _, value = reason.partition("=")
        if name == "label":
            chosen = by_label[reason]
        else:
            of_group = (test[GROUP_PREFIX + name].astype(str) == value).to_numpy()
            chosen = said[of_group][truth[of_group]]
        if len(chosen):
            recalls[reason] = float(chosen.mean())
    return recalls
