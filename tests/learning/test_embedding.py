from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tenuto.learning import augment, backbones, embedding
from tenuto.learning.embedding import Encoder
from tenuto.learning.preprocessing import Preprocessing
from tenuto.settings import AugmentSettings
from tests.chirps import write_clips


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    backbone = backbones.resolve("speech-embedding")
    preprocessing = Preprocessing.of(backbone.feature_extractor, backbone.config, 10.0)
    return Encoder(backbone.pretrained(("down", "up"), seed=0), preprocessing, backbone.revision)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def clips(data: Path) -> pd.DataFrame:
    return write_clips(data, {"down": 3, "up": 4})


def test_embeddings_are_what_the_head_sees_of_each_clip_alone(
    clips: pd.DataFrame, data: Path, encoder: Encoder, tmp_path: Path
) -> None:
    embedded = embedding.embed(clips, data, encoder, tmp_path)
    wave = encoder.preprocessing.read(data / clips["path"][5])
    with torch.inference_mode():
        mels = encoder.model.encoder.log_mel(encoder.preprocessing.features([wave])["input_values"])
        alone = encoder.model.encoder(mels).mean(dim=1)[0].numpy()
    np.testing.assert_allclose(embedded.vectors[5], alone, atol=1e-4)


def test_only_new_clips_and_copies_are_computed(
    clips: pd.DataFrame, data: Path, encoder: Encoder, tmp_path: Path
) -> None:
    assert embedding.embed(clips[:5], data, encoder, tmp_path).computed == 5
    copies = augment.plan(clips.assign(split="train"), AugmentSettings(), np.random.default_rng(0))
    rows = pd.concat([clips, copies], ignore_index=True)
    first = embedding.embed(rows, data, encoder, tmp_path)
    assert (first.computed, first.reused) == (2 + len(copies), 5)
    again = embedding.embed(rows[::-1], data, encoder, tmp_path)
    assert (again.computed, again.reused) == (0, len(rows))
    np.testing.assert_array_equal(again.vectors[::-1], first.vectors)


def test_a_clip_that_comes_alone_gets_the_same_bits(
    clips: pd.DataFrame, data: Path, encoder: Encoder, tmp_path: Path
) -> None:
    together = embedding.embed(clips, data, encoder, tmp_path / "together")
    for n in range(len(clips)):  # as when they were added one a week
        embedding.embed(clips[: n + 1], data, encoder, tmp_path / "weekly")
    weekly = embedding.embed(clips, data, encoder, tmp_path / "weekly")
    assert weekly.computed == 0
    np.testing.assert_array_equal(weekly.vectors, together.vectors)


def test_a_damaged_shard_is_computed_again(clips: pd.DataFrame, data: Path, encoder: Encoder, tmp_path: Path) -> None:
    whole = embedding.embed(clips, data, encoder, tmp_path)
    (shard,) = tmp_path.rglob("*.parquet")
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    again = embedding.embed(clips, data, encoder, tmp_path)
    assert again.computed == len(clips)
    np.testing.assert_array_equal(again.vectors, whole.vectors)


def test_another_revision_shares_nothing(clips: pd.DataFrame, data: Path, encoder: Encoder, tmp_path: Path) -> None:
    embedding.embed(clips, data, encoder, tmp_path)
    other = Encoder(encoder.model, encoder.preprocessing, "another")
    assert embedding.embed(clips[:2], data, other, tmp_path).computed == 2


def test_progress_ends_at_the_number_of_new_clips(
    clips: pd.DataFrame, data: Path, encoder: Encoder, tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []
    embedding.embed(clips, data, encoder, tmp_path, on_progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (7, 7)


def test_copies_sound_as_drawn(clips: pd.DataFrame, data: Path, encoder: Encoder) -> None:
    copies = augment.plan(clips.assign(split="train"), AugmentSettings(noise=1), np.random.default_rng(0))
    row = copies.iloc[0]
    original = encoder.preprocessing.read(data / row["path"])
    (wave,) = embedding.waves(copies[:1], data, encoder.preprocessing)
    np.testing.assert_array_equal(wave, augment.apply(original, 16_000, row.to_dict()))
