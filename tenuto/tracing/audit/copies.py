"""How many augmented copies of each clip a run trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenuto.settings import AugmentSettings

if TYPE_CHECKING:
    import pandas as pd


def copies(clips: pd.DataFrame, settings: AugmentSettings, seed: int) -> pd.Series[int]:
    """How many copies `augment.plan` makes of each row of the clips table; 0 for all that are not trained on.

    Follows from the table and the settings alone, as long as the code that draws them is the same.
    """
    import numpy as np

    from tenuto.learning import augment

    made = augment.plan(clips, settings, np.random.default_rng(seed))["clip_id"].value_counts()
    return clips["clip_id"].map(made).fillna(0).astype(int)
