"""Chirps of which one class and one accent are rare."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tenuto.settings import Params
from tests.chirps import write_clips

AUTO = Params.model_validate(
    {"name": "chirps", "augment": {"max_copies": 2, "pitch": 0, "stretch": 0}, "imbalance": {"remedy": "auto"}}
)


@pytest.fixture(scope="package")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="package")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Embeddings for all tests of remedies: most tests hear the same clips."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="package")
def clips(data: Path) -> pd.DataFrame:
    """Twelve training clips of each class but two of 'up'; every fourth one has a rare accent."""
    parts = [
        write_clips(data, {"down": 12, "flat": 12, "up": 2}, seed=0).assign(split="train"),
        write_clips(data, {"down": 3, "flat": 3, "up": 3}, seed=1).assign(split="validation"),
        write_clips(data, {"down": 8, "flat": 8, "up": 8}, seed=2).assign(split="test"),
    ]
    whole = pd.concat(parts, ignore_index=True)
    rare = np.where(whole["split"] == "train", np.arange(len(whole)) % 8 == 0, np.arange(len(whole)) % 2 == 0)
    return whole.drop(columns="group_site").assign(
        group_accent=np.where(rare, "rare", "usual"), family=whole["clip_id"]
    )
