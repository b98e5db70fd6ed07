"""What a training on chirps starts from."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tenuto.errors import TrainingError
from tenuto.learning import finetune, preparation
from tests.chirps import params, write_clips


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("finetune")


@pytest.fixture(scope="module")
def clips(folder: Path) -> pd.DataFrame:
    return write_clips(folder / "data", {"down": 9, "flat": 9, "up": 9})


@pytest.mark.parametrize("lost", ["train", "validation"])
def test_too_small_splits_say_what_is_missing(lost: str, folder: Path, clips: pd.DataFrame) -> None:
    with pytest.raises(TrainingError, match="wanted at least 2 classes and 1 validation clip"):
        finetune.train_candidate(
            clips[clips["split"] != lost], folder / "data", params(), folder / "cache", folder / "small"
        )


def test_windows_hear_the_whole_of_a_long_clip_unless_told_otherwise(folder: Path, clips: pd.DataFrame) -> None:
    def heard_seconds(model: dict[str, object], **finetune: object) -> float:
        settings = params(model=model, finetune=finetune)
        return preparation.set_up(clips, folder / "data", settings).material.preprocessing.framing.max_seconds

    assert heard_seconds({}) == 10
    assert heard_seconds({"window_seconds": 1.5}) == 600
    assert heard_seconds({"window_seconds": 1.5}, max_clip_seconds=20) == 20


def test_embeddings_are_shared_by_what_leaves_them_alike(folder: Path, clips: pd.DataFrame) -> None:
    def key(**model: object) -> str:
        settings = params(model=model)
        setup = preparation.set_up(clips, folder / "data", settings)
        return setup.encoder(setup.pretrained(settings)).key

    assert key(pool="mean") == key(pool="gru") == key(pool="attention", head="mlp", adapter_size=2)
    others = [{}, {"pool": "max"}, {"pool": "mean", "truncate": 19}, {"pool": "mean", "window_seconds": 1.5}]
    assert len({key(pool="mean"), *(key(**model) for model in others)}) == 5
