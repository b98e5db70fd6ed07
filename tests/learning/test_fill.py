"""What filling is worth, on chirps of which one class is rare."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tenuto.learning import fill
from tests.chirps import params, write_clips


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("finetune")


@pytest.fixture(scope="module")
def clips(folder: Path) -> pd.DataFrame:
    return write_clips(folder / "data", {"down": 9, "flat": 9, "up": 9})


def test_filling_is_compared_for_what_was_rare(folder: Path) -> None:
    data = folder / "rare"
    table = write_clips(data, {"down": 24, "flat": 24, "up": 24})
    rare = (table["label"] == "up") & (table["split"] == "train")
    table = table[~rare | (rare.cumsum() <= 2)]
    compared = fill.compare(table, data, params(augment={"max_copies": 5}), folder / "cache")
    assert compared.copies["label=up"] == 10
    for name in ("without fill", "with fill"):
        assert set(compared.recall[name]) >= {"macro", "label=up"}
    assert compared.recall["with fill"]["label=up"] >= compared.recall["without fill"]["label=up"]


def test_nothing_rare_leaves_nothing_to_compare(folder: Path, clips: pd.DataFrame) -> None:
    compared = fill.compare(clips, folder / "data", params(), folder / "cache")
    assert compared.copies == {}
    assert compared.recall["with fill"] == compared.recall["without fill"]
