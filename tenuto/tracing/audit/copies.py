"""How many augmented copies of each clip a run trained on, and how much the clip and each copy of it counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenuto import labels
from tenuto.labels import LabelType
from tenuto.settings import AugmentSettings, Params

if TYPE_CHECKING:
    import pandas as pd


def copies(clips: pd.DataFrame, settings: AugmentSettings, seed: int, kind: LabelType = "one") -> pd.Series[int]:
    """How many copies `augment.plan` makes of each row of the clips table; 0 for all that are not trained on.

    Follows from the table and the settings alone, as long as the code that draws them is the same.
    """
    made = _plan(clips, settings, seed, kind)["clip_id"].value_counts()
    return clips["clip_id"].map(made).fillna(0).astype(int)


def weights(clips: pd.DataFrame, params: Params) -> pd.Series[float]:
    """The weight of each row of the clips table, by `imbalance.weights`; 0 for all that are not trained on.

    NaN for those trained on when the weights changed while training. A copy has its clip's label and groups, and so its
    weight. Raises SettingsError for a group that the clips do not have.
    """
    import numpy as np
    import pandas as pd

    from tenuto.learning import imbalance

    train = clips[clips["split"] == "train"]
    found = pd.Series(0.0, clips.index)
    if params.imbalance.group_dro or not (params.imbalance.sample_by or params.imbalance.class_weights != "none"):
        found[train.index] = np.nan if params.imbalance.group_dro else 1.0
        return found
    rows = pd.concat([train, _plan(clips, params.augment, params.seed, params.data.labels)], ignore_index=True)
    names = labels.classes(rows["label"], params.data.labels)
    targets = labels.targets(rows["label"].to_numpy(), names, params.data.labels)
    each = imbalance.weights(rows, targets, len(names), params.imbalance)
    assert each is not None
    found[train.index] = each[: len(train)]
    return found


def _plan(clips: pd.DataFrame, settings: AugmentSettings, seed: int, kind: LabelType) -> pd.DataFrame:
    import numpy as np

    from tenuto.learning import augment

    return augment.plan(clips, settings, np.random.default_rng(seed), kind)
