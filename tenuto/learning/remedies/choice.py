"""The remedy that a retrain takes by itself, on the word of the validation clips."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tenuto.errors import TrainingError
from tenuto.learning.remedies.comparison import Trial, compare
from tenuto.learning.remedies.known import NONE
from tenuto.learning.remedies.rare import find_rare, too_few
from tenuto.records import Remedy
from tenuto.settings import Params


def choose(clips: pd.DataFrame, data: Path, params: Params, group: str | None, cache: Path) -> Remedy:
    """What `imbalance.remedy: auto` comes to: the remedy that the validation clips speak for, or none and why.

    Arguments as for `compare`. The same clips and settings give the same choice.
    """
    if params.data.labels == "many":
        return nothing("remedies are compared for one label a clip")
    try:
        rare = find_rare(clips, "validation")
        if not rare.is_rare:
            return nothing("no class and no group is rare")
        if few := too_few(clips, rare):
            return nothing(few)
        found = compare(clips, data, params, group, cache, asked="validation")
    except TrainingError as error:
        return nothing(str(error).rstrip("."))
    if found.use == NONE:
        return nothing(found.why)
    by_name = {trial.remedy: trial for trial in found.trials}
    figures = {NONE: _figures(by_name[NONE]), found.use: _figures(by_name[found.use])}
    return Remedy(use=found.use, why=found.why, choices=by_name[found.use].choices, figures=figures)


def nothing(why: str) -> Remedy:
    """No choice, since nothing could be shown: what params.yaml says of `augment` and `imbalance` stands."""
    return Remedy(use=NONE, why=f"{why}; augment.fill and imbalance stand as they are", choices={})


def _figures(trial: Trial) -> dict[str, float]:
    found = {"macro_f1": trial.macro_f1, "rare_recall": trial.rare_recall, "rare_precision": trial.rare_precision}
    values = {name: interval.value for name, interval in found.items()}
    return values | ({"rare_group_recall": trial.group_recall.value} if trial.group_recall else {})
