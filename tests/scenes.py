"""Recordings in which several things sound, or none, and models that hear them more or less well."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from tenuto import labels
from tenuto.records import Evaluation
from tenuto.scoring import evaluation
from tenuto.scoring.statistics import Answers
from tenuto.settings import EvaluateSettings

LABELS = ("bird", "car", "dog", "rain")
SETTINGS = EvaluateSettings(resamples=200)


def answers(
    rng: np.random.Generator, sites: int, clips: int, skill: Mapping[str, float], frequency: float = 0.3
) -> Answers:
    """What models answer about `clips` clips of each of `sites` sites, some of which are harder for all models.

    On a scale of normal scores, a label that is there lies `skill` higher; a model names what lies above half of that.
    """
    units = np.repeat(np.arange(sites), clips)
    truth = rng.random((len(units), len(LABELS))) < frequency
    ease, level = rng.normal(0, 0.5, sites)[units, None], rng.normal(0, 0.3, sites)[units, None]
    luck = rng.normal(size=truth.shape)
    probabilities, predicted = {}, {}
    for model, gain in skill.items():
        score = 0.7 * luck + 0.7 * rng.normal(size=truth.shape) + (gain + ease) * truth + level
        probabilities[model] = 1 / (1 + np.exp(gain / 2 - score))
        predicted[model] = probabilities[model] >= 0.5
    return Answers(LABELS, truth, predicted, units, "site", probabilities)


def table(found: Answers) -> pd.DataFrame:
    """The clips of the answers, as a row of the manifest each."""
    index = np.arange(len(found.truth))
    texts = [labels.joined(np.array(LABELS)[row].tolist()) for row in np.asarray(found.truth, bool)]
    return pd.DataFrame(
        {
            "clip_id": [f"{i:032x}" for i in index],
            "label": texts,
            "family": [f"{i:032x}" for i in index],
            "group_site": [f"s{unit}" for unit in found.units],
        }
    )


def evaluated(found: Answers, folder: Path) -> Evaluation:
    """The evaluation of the answers, with everything that the gate and the page read."""
    said = {
        model: [labels.joined(np.array(LABELS)[row].tolist()) for row in np.asarray(decided, bool)]
        for model, decided in found.predicted.items()
    }
    rows = evaluation.answer_table(table(found), LABELS, found.probabilities, "site", said)
    path = folder / "probabilities.parquet"
    rows.to_parquet(path, index=False)
    thresholds = {model: dict.fromkeys(LABELS, 0.5) for model in said if model != "majority"}
    made = evaluation.summarise(rows, LABELS, path, SETTINGS, "site", "many")
    return made.model_copy(update={"thresholds": thresholds})
