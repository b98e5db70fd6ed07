"""What is rare among chirps."""

from __future__ import annotations

import pandas as pd
import pytest

from tenuto.errors import TrainingError
from tenuto.learning.remedies.known import remedies
from tenuto.learning.remedies.rare import Rare, find_rare


def test_the_rarest_class_and_the_rarest_shared_value_are_found(clips: pd.DataFrame) -> None:
    rare = find_rare(clips)
    assert rare == Rare(label="up", label_clips=2, group="accent", value="rare", value_clips=4)


def test_a_group_that_the_splits_do_not_share_is_no_reason_for_a_remedy(clips: pd.DataFrame) -> None:
    speakers = clips.assign(group_accent=clips["split"] + clips["group_accent"])
    assert find_rare(speakers).group is None
    assert find_rare(speakers).is_rare, "two clips of 'up' against twelve"
    even = speakers[(speakers["split"] != "train") | (speakers["label"] != "up")].reset_index(drop=True)
    assert not find_rare(even).is_rare
    assert not any("accent" in name for name in remedies(find_rare(speakers)))


def test_a_rare_class_without_test_clips_cannot_be_measured(clips: pd.DataFrame) -> None:
    with pytest.raises(TrainingError, match="'up', has no test clip"):
        find_rare(clips[(clips["split"] != "test") | (clips["label"] != "up")])
