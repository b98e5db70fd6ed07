from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import nn

from tenuto.learning import probe
from tenuto.learning.imbalance import Balance
from tenuto.learning.losses import (
    Asymmetric,
    BinaryCrossEntropy,
    CrossEntropy,
    Focal,
    LogitAdjustment,
    Weighting,
    class_weights,
    positive_weights,
)


def blobs(classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = np.arange(90) % classes
    vectors = rng.normal(size=(classes, 6))[truth] * 2 + rng.normal(size=(90, 6)) * [1, 50, 0.01, 1, 1, 1] + 10
    return vectors.astype(np.float32), truth


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_agrees_with_a_regression_on_standardised_embeddings(classes: int) -> None:
    vectors, truth = blobs(classes)
    reference = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=2000)).fit(vectors, truth)
    scores = probe.fit(vectors, truth, classes, c=0.5).logits(vectors)
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, reference.predict_proba(vectors), atol=1e-3)


@pytest.mark.parametrize("classes", [2, 4])
def test_the_head_it_becomes_gives_the_same_logits(classes: int) -> None:
    vectors, truth = blobs(classes)
    fitted = probe.fit(vectors, truth, classes, c=1.0)
    model = nn.Sequential(nn.Linear(6, classes))
    model.config = SimpleNamespace(num_labels=classes)
    fitted.install(model)
    with torch.inference_mode():
        np.testing.assert_allclose(model(torch.from_numpy(vectors)), fitted.logits(vectors), atol=1e-3)


def test_a_constant_dimension_does_no_harm() -> None:
    vectors, truth = blobs(3)
    vectors[:, 2] = 4.0
    assert np.isfinite(probe.fit(vectors, truth, 3, c=1.0).logits(vectors)).all()


def alike(one: probe.LinearProbe, other: probe.LinearProbe, vectors: np.ndarray) -> None:
    first, second = (np.exp(p.logits(vectors) - p.logits(vectors).max(axis=1, keepdims=True)) for p in (one, other))
    np.testing.assert_allclose(first / first.sum(axis=1)[:, None], second / second.sum(axis=1)[:, None], atol=1e-3)


@pytest.mark.parametrize("classes", [2, 4])
def test_any_loss_goes_through_the_same_minimum_as_the_regression(classes: int) -> None:
    vectors, truth = blobs(classes)
    even = Balance(CrossEntropy(), draws=np.ones(len(truth)))
    alike(probe.fit(vectors, truth, classes, c=0.5, balance=even), probe.fit(vectors, truth, classes, c=0.5), vectors)


def test_class_weights_and_draws_are_sample_weights() -> None:
    vectors, truth = blobs(3)
    keep = (truth != 2) | (np.arange(len(truth)) % 6 == 2)
    vectors, truth = vectors[keep], truth[keep]
    counts = torch.from_numpy(np.bincount(truth))
    weights = class_weights(counts, "inverse")
    assert weights is not None
    per_clip = weights.numpy()[truth].astype(float)
    reference = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=2000))
    reference.fit(vectors, truth, logisticregression__sample_weight=per_clip)
    for balance in (Balance(CrossEntropy(weights)), Balance(CrossEntropy(), draws=per_clip)):
        scores = probe.fit(vectors, truth, 3, c=0.5, balance=balance).logits(vectors)
        probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(probabilities, reference.predict_proba(vectors), atol=2e-3)


def test_logit_adjustment_moves_the_biases_by_the_log_shares() -> None:
    """The biases are not penalised, so they take up the whole adjustment."""
    vectors, truth = blobs(3)
    truth = np.where(np.arange(len(truth)) % 5 == 0, 2, np.minimum(truth, 1))
    counts = torch.from_numpy(np.bincount(truth))
    plain = probe.fit(vectors, truth, 3, c=0.5)
    adjusted = probe.fit(vectors, truth, 3, c=0.5, balance=Balance(LogitAdjustment(counts)))
    wanted = probe.LinearProbe(plain.weights, plain.biases - np.log(counts.numpy() / len(truth)))
    alike(adjusted, wanted, vectors)


def test_focal_fits_as_well() -> None:
    vectors, truth = blobs(3)
    scores = probe.fit(vectors, truth, 3, c=1.0, balance=Balance(Focal())).logits(vectors)
    assert (scores.argmax(axis=1) == truth).mean() > 0.9


def test_the_group_that_fares_worst_is_served_better() -> None:
    """Group 1 has its labels the other way round on one axis, and is a tenth of the clips."""
    rng = np.random.default_rng(0)
    truth, groups = rng.integers(2, size=600), (np.arange(600) % 10 == 0).astype(np.int64)
    axes = rng.normal(size=(600, 2)) * 0.6
    axes[:, 0] += np.where(truth == 1, 1, -1) * np.where(groups == 1, -0.6, 1.0)
    axes[:, 1] += np.where(truth == 1, 1, -1) * 0.7
    vectors = axes.astype(np.float32)

    def worst(balance: Balance | None) -> float:
        right = probe.fit(vectors, truth, 2, c=1.0, balance=balance).logits(vectors).argmax(axis=1) == truth
        return min(float(right[groups == g].mean()) for g in (0, 1))

    dro = Balance(CrossEntropy(), groups=groups, group_names=("most", "few"))
    assert worst(dro) > worst(None) + 0.1


def test_the_number_of_cores_decides_nothing() -> None:
    rng = np.random.default_rng(0)
    vectors, classes = rng.standard_normal((1500, 96)).astype(np.float32), rng.integers(0, 10, 1500)
    found = []
    for cores in (1, 2):
        with threadpool_limits(cores, user_api="blas"):
            found.append(probe.fit(vectors, classes, 10, c=0.1))
    np.testing.assert_array_equal(found[0].weights, found[1].weights)
    np.testing.assert_array_equal(found[0].biases, found[1].biases)


def several(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors in which three labels are heard at once, and which of them (90, 3)."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((90, 3)) < [0.5, 0.3, 0.15]).astype(np.float32)
    vectors = truth @ rng.normal(size=(3, 6)) + rng.normal(size=(90, 6)) * [1, 50, 0.01, 1, 1, 1] + 10
    return vectors.astype(np.float32), truth


@pytest.mark.parametrize("weighting", ["none", "inverse"])
def test_with_several_labels_it_agrees_with_a_regression_for_each(weighting: Weighting) -> None:
    vectors, truth = several()
    weights = positive_weights(torch.from_numpy(truth.sum(axis=0)), 90, weighting)
    balance = Balance(BinaryCrossEntropy(weights))
    scores = probe.fit(vectors, truth, 3, c=0.5, balance=balance).logits(vectors)
    standardised = StandardScaler().fit_transform(vectors.astype(np.float64))
    for place in range(3):
        positive = 1.0 if weights is None else float(weights[place])
        regression = LogisticRegression(C=0.5, max_iter=2000, tol=1e-8, class_weight={0: 1.0, 1: positive})
        wanted = regression.fit(standardised, truth[:, place]).decision_function(standardised)
        np.testing.assert_allclose(scores[:, place], wanted, atol=2e-3)


def test_several_labels_are_learned_by_the_asymmetric_loss_too() -> None:
    vectors, truth = several()
    scores = probe.fit(vectors, truth, 3, c=0.5, balance=Balance(Asymmetric())).logits(vectors)
    assert all(scores[truth[:, c] > 0, c].mean() > scores[truth[:, c] == 0, c].mean() + 1 for c in range(3))
