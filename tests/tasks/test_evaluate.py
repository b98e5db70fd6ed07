"""Which clips an evaluation hears."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pytest

from tasks import evaluate
from tenuto.scoring import evaluation
from tenuto.settings import EvaluateSettings


@pytest.mark.parametrize(("split", "heard", "is_judged"), [("test", ["c"], True), ("golden", ["d", "e"], False)])
def test_test_clips_are_judged_and_golden_ones_watched(
    split: Literal["test", "golden"],
    heard: list[str],
    is_judged: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(evaluation, "evaluate", lambda models, clips, *_, **options: asked.update(options, clips=clips))
    splits = ["train", "train", "test", "golden", "golden", "aside"]
    clips = pd.DataFrame({"clip_id": list("abcdef"), "label": list("xxyyyy"), "split": splits})
    clips.to_parquet(tmp_path / "clips.parquet")
    evaluate.evaluate.fn(
        {}, tmp_path / "clips.parquet", tmp_path, EvaluateSettings(), None, frozenset(), tmp_path / "out", split=split
    )
    assert asked["clips"]["clip_id"].tolist() == heard
    assert asked["is_judged"] == is_judged
    assert asked["trained"] == ["x", "x"]  # of the training clips, whatever is heard
