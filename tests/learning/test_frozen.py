"""Heads on frozen embeddings, and the models that they are put into."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tenuto.learning import embedding, frozen, predictor, preparation
from tests.chirps import params, write_clips


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("finetune")


@pytest.fixture(scope="module")
def clips(folder: Path) -> pd.DataFrame:
    return write_clips(folder / "data", {"down": 9, "flat": 9, "up": 9})


def test_what_a_fitted_head_says_of_embeddings_the_model_says_of_clips(folder: Path, clips: pd.DataFrame) -> None:
    for model in ({"head": "prototype", "pool": "statistics"}, {"head": "mlp", "pool": "gru", "hidden_size": 8}):
        settings = params(model=model)
        setup = preparation.set_up(clips, folder / "data", settings)
        made = setup.pretrained(settings)
        fitted = frozen.fit_head(setup.material, setup.encoder(made), settings, folder / "cache")
        fitted.install(made)
        vectors = embedding.embed(clips, folder / "data", setup.encoder(made), folder / "cache").vectors
        waves = embedding.waves(clips, folder / "data", setup.material.preprocessing)
        heard = predictor.logits(made, setup.material.preprocessing, waves)
        np.testing.assert_allclose(fitted.logits(vectors), heard, rtol=1e-3, atol=1e-3)
