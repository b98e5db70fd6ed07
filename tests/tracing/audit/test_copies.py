"""What a clip counted in training, for twelve training clips whose weights are counted by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from tenuto.settings import Params
from tenuto.tracing.audit import copies


def clips() -> pd.DataFrame:
    """Ten training clips of `up`, two of `down`, and a test clip."""
    rows = [("train", "up", "ann")] * 10 + [("train", "down", "ben")] * 2 + [("test", "up", "cat")]
    table = pd.DataFrame(rows, columns=["split", "label", "group_speaker"])
    return table.assign(clip_id=[f"{number:032x}" for number in range(len(table))])


def weights(fill: float, **imbalance: object) -> dict[tuple[str, str], float]:
    params = Params.model_validate({"name": "bells", "augment": {"fill": fill}, "imbalance": imbalance})
    return dict(zip(zip(clips()["split"], clips()["label"], strict=True), copies.weights(clips(), params), strict=True))


def test_clips_count_alike_by_default() -> None:
    assert weights(0.0) == {("train", "up"): 1, ("train", "down"): 1, ("test", "up"): 0}


@pytest.mark.parametrize("imbalance", [{"class_weights": "inverse"}, {"sample_by": "label"}, {"sample_by": "speaker"}])
def test_the_rare_class_counts_more(imbalance: dict[str, object]) -> None:
    """Both classes come to 6 of 12: a clip of ten to 0.6, a clip of two to 3."""
    assert weights(0.0, **imbalance) == pytest.approx(
        {("train", "up"): 0.6, ("train", "down"): 3.0, ("test", "up"): 0.0}
    )


def test_copies_that_fill_up_a_class_lower_its_weight() -> None:
    """Two clips with eight copies of them are ten, as many as the other class has."""
    assert weights(1.0, class_weights="inverse") == pytest.approx(
        {("train", "up"): 1.0, ("train", "down"): 1.0, ("test", "up"): 0.0}
    )


def test_weights_that_change_are_not_numbers() -> None:
    found = weights(0.0, group_dro="speaker")
    assert pd.isna(found["train", "up"]) and pd.isna(found["train", "down"]) and found["test", "up"] == 0
