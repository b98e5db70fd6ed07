from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import distance
from sklearn.covariance import ledoit_wolf

from tenuto.errors import BackboneError
from tenuto.serving.hearing import novelty


def clusters(rng: np.random.Generator, clips: int, *, classes: int = 4, dims: int = 8) -> tuple[np.ndarray, list[str]]:
    """Embeddings around class centres that lie 6 apart, of unlike spreads by dimension, and their labels."""
    labels = rng.integers(classes, size=clips)
    centres = 6 * np.eye(classes, dims)
    return centres[labels] + rng.standard_normal((clips, dims)) * np.linspace(0.5, 2, dims), [f"c{i}" for i in labels]


def test_the_distance_is_mahalanobis_and_the_angle_the_cosine_of_whitened_embeddings() -> None:
    rng = np.random.default_rng(0)
    train, labels = clusters(rng, 200)
    fitted = novelty.fit(train, labels, clusters(rng, 100)[0])
    assert fitted is not None
    means = {label: train[np.array(labels) == label].mean(axis=0) for label in sorted(set(labels))}
    within = train - np.stack([means[label] for label in labels])
    covariance = ledoit_wolf(within, assume_centered=True)[0]
    inverse, whitening = np.linalg.inv(covariance), fitted.whitening.astype(float)
    np.testing.assert_allclose(whitening @ whitening, inverse, rtol=1e-4, atol=1e-5)
    clip, centre = rng.standard_normal(8), train.mean(axis=0)
    distances, angles = fitted.parts(clip[None])
    assert distances[0] == pytest.approx(
        min(distance.mahalanobis(clip, mean, inverse) for mean in means.values()), 1e-4
    )
    white = [distance.cosine((clip - centre) @ whitening, (mean - centre) @ whitening) for mean in means.values()]
    assert angles[0] == pytest.approx(min(white), abs=1e-5)


@pytest.mark.parametrize("tails", ["normal", "heavy"])
@pytest.mark.parametrize("clips", [25, 99, 250])
def test_of_clips_like_the_validation_clips_at_most_one_in_a_hundred_is_refused(clips: int, tails: str) -> None:
    rng = np.random.default_rng(7)
    train, labels = clusters(rng, 300)
    spread = (lambda n: rng.standard_t(4, (n, 1))) if tails == "heavy" else (lambda n: np.ones((n, 1)))
    refused = []
    for _ in range(150):
        drawn = clusters(rng, clips + 200)[0] * spread(clips + 200)
        fitted = novelty.fit(train, labels, drawn[:clips])
        assert fitted is not None
        refused.append((fitted.score(drawn[clips:]) > 1).mean())
    error = np.std(refused) / np.sqrt(len(refused))
    # conformal from 99 clips on; with fewer it leans on an exponential tail
    most = 0.01 if clips >= 99 else {"normal": 0.015, "heavy": 0.02}[tails]
    assert np.mean(refused) <= most + 2 * error
    assert np.mean(refused) > 0.001


def test_what_is_far_out_and_what_is_nowhere_is_unknown() -> None:
    rng = np.random.default_rng(1)
    train, labels = clusters(rng, 400)
    fitted = novelty.fit(train, labels, clusters(rng, 200)[0])
    assert fitted is not None
    far = np.zeros((1, 8))
    far[0, 0] = 40
    another_class = 6 * np.eye(1, 8, 6) * 2
    assert fitted.score(far)[0] > 1
    assert fitted.score(another_class)[0] > 1
    assert fitted.score(np.full((1, 8), np.nan))[0] > 1
    assert (fitted.score(clusters(rng, 500)[0]) <= 1).mean() > 0.96


def test_with_few_validation_clips_nothing_is_called_unknown() -> None:
    rng = np.random.default_rng(2)
    train, labels = clusters(rng, 50)
    assert novelty.fit(train, labels, clusters(rng, novelty.MIN_CLIPS - 1)[0]) is None
    assert novelty.fit(train[:0], [], clusters(rng, 50)[0]) is None


def test_embeddings_without_any_spread_do_not_end_in_an_error() -> None:
    ones = np.ones((30, 4))
    fitted = novelty.fit(ones, ["a"] * 30, ones)
    assert fitted is not None
    assert (fitted.score(ones) <= 1).all()
    assert fitted.score(ones + 1)[0] > 1


def test_classes_of_a_clip_or_two_count_only_where_there_are_no_others() -> None:
    rng = np.random.default_rng(3)
    train, labels = clusters(rng, 100)
    fitted = novelty.fit(np.vstack([train, np.full((1, 8), 50.0)]), [*labels, "c1;c2"], train)
    assert fitted is not None
    assert fitted.means.shape == (4, 8)
    lone = novelty.fit(train[:20], [str(place) for place in range(20)], train)
    assert lone is not None
    assert lone.means.shape == (20, 8)


def test_what_was_fitted_comes_back_from_its_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    train, labels = clusters(rng, 100)
    fitted = novelty.fit(train, labels, train)
    assert fitted is not None
    assert novelty.load(tmp_path) is None
    fitted.save(tmp_path)
    stored = novelty.load(tmp_path)
    assert stored is not None
    np.testing.assert_array_equal(stored.score(train), fitted.score(train))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / novelty.FILE_NAME).write_bytes(b"PK half")
    with pytest.raises(BackboneError, match=r"novelty\.npz is no measure of novelty"):
        novelty.load(tmp_path)
