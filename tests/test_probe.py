import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from tenuto import probe


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
    head = nn.Linear(6, classes)
    fitted.install(head)
    with torch.inference_mode():
        np.testing.assert_allclose(head(torch.from_numpy(vectors)), fitted.logits(vectors), atol=1e-3)


def test_a_constant_dimension_does_no_harm() -> None:
    vectors, truth = blobs(3)
    vectors[:, 2] = 4.0
    assert np.isfinite(probe.fit(vectors, truth, 3, c=1.0).logits(vectors)).all()
