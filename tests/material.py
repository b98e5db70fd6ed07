"""Sixteen chirps of two lengths as training material."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from tenuto.learning import backbones, imbalance
from tenuto.learning.batches import Material
from tenuto.learning.preprocessing import Preprocessing
from tenuto.settings import FinetuneSettings, ImbalanceSettings
from tests.chirps import write_clips


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    """Clips of two accents, of which one is rare; nothing is done about it."""
    data = tmp_path_factory.mktemp("data")
    clips = pd.concat(
        [write_clips(data, {"down": 6, "up": 6}), write_clips(data, {"down": 2, "up": 2}, seed=1, seconds=1.6)]
    )
    train = clips[clips["split"] == "train"].reset_index(drop=True)
    backbone = backbones.resolve("speech-embedding")
    return Material(
        data=data,
        labels=("down", "up"),
        train=train.assign(group_accent=["rare" if row % 5 == 0 else "usual" for row in range(len(train))]),
        validation=clips[clips["split"] != "train"],
        preprocessing=Preprocessing.of(backbone.feature_extractor, backbone.config, 10.0),
        balance=imbalance.PLAIN,
    )


def balanced(material: Material, settings: dict[str, Any]) -> Material:
    """The same clips with what `imbalance` in params.yaml would make of them."""
    chosen = ImbalanceSettings.model_validate(settings)
    classes = material.targets(material.train)
    return replace(
        material,
        balance=imbalance.balance(material.train, classes, len(material.labels), chosen, FinetuneSettings()),
    )
