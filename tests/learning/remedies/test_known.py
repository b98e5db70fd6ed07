"""The remedies by name."""

from __future__ import annotations

import pandas as pd

from tenuto.learning.remedies.known import fits, remedies
from tenuto.learning.remedies.rare import find_rare
from tests.learning.remedies.conftest import AUTO


def test_a_remedy_that_other_settings_forbid_is_not_tried(clips: pd.DataFrame) -> None:
    smooth = AUTO.model_copy(update={"finetune": AUTO.finetune.model_copy(update={"label_smoothing": 0.1})})
    rare = find_rare(clips)
    refused = [name for name, choices in remedies(rare).items() if not fits(smooth, choices)]
    assert refused == ["focal loss", "LDAM"]
