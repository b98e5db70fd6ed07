"""Division of clips that have several labels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tenuto.errors import TrainingError
from tenuto.settings import SplitSettings
from tenuto.splitting import splits


def manifest(labels: list[str], *, batch: int = 0, start: int = 0, per_speaker: int = 1) -> pd.DataFrame:
    """A clip for each of `labels`, `per_speaker` in a row by one speaker."""
    numbers = range(start, start + len(labels))
    return pd.DataFrame(
        {
            "clip_id": [f"{number:04d}" for number in numbers],
            "family": [f"{number:04d}" for number in numbers],
            "label": labels,
            "batch": batch,
            "group_speaker": [f"s{number // per_speaker}" for number in numbers],
        }
    )


def drawn(count: int, seed: int = 0) -> list[str]:
    """Labels as they fall together by chance: 'common' in half of the clips, 'rare' in one of twelve, or none."""
    rng = np.random.default_rng(seed)
    chances = {"common": 0.5, "middle": 0.25, "rare": 1 / 12}
    return [";".join(name for name, chance in chances.items() if rng.random() < chance) for _ in range(count)]


@pytest.mark.parametrize("seed", range(5))
def test_every_label_is_divided_by_the_shares_of_the_splits(seed: int) -> None:
    clips = splits.assign(manifest(drawn(360, seed)), SplitSettings(validation=0.2, test=0.3, seed=seed), kind="many")
    shares = {"train": 0.5, "validation": 0.2, "test": 0.3}
    for name in ("common", "middle", "rare"):
        has = clips["label"].str.contains(name)
        for split, share in shares.items():
            wanted = share * has.sum()
            assert abs((has & clips["split"].eq(split)).sum() - wanted) <= max(1.5, 0.05 * wanted), (name, split)
    assert all(abs(clips["split"].eq(split).mean() - share) < 0.02 for split, share in shares.items())


def test_whole_speakers_stay_together_and_no_clip_moves_when_more_comes() -> None:
    first = manifest(drawn(80), per_speaker=4)
    more = manifest(drawn(80, 1), batch=1, start=80, per_speaker=4)
    before = splits.assign(first, SplitSettings(), kind="many").set_index("clip_id")["split"]
    clips = splits.assign(pd.concat([first, more], ignore_index=True), SplitSettings(), kind="many")
    assert (clips.groupby("group_speaker")["split"].nunique() == 1).all()
    after = clips.set_index("clip_id")["split"]
    assert after.loc[before.index].equals(before)


def test_clips_without_a_label_go_to_every_split() -> None:
    clips = splits.assign(manifest([""] * 40 + ["a", "b"] * 20), SplitSettings(), kind="many")
    assert set(clips.loc[clips["label"].eq(""), "split"]) == {"train", "validation", "test"}


def test_several_labels_in_one_text_are_several_classes() -> None:
    rows = manifest(["a;b"] * 12)
    assert len(splits.assign(rows, SplitSettings(), kind="many")) == 12
    with pytest.raises(TrainingError, match="at least 2 classes"):
        splits.assign(rows, SplitSettings(), kind="one")
