from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tenuto.learning import heads, imbalance, selection
from tenuto.learning.heads import fitting
from tenuto.learning.imbalance import Balance
from tenuto.learning.losses import BinaryCrossEntropy, CrossEntropy
from tenuto.learning.probe import FittedHead


def rings(clips: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two classes that no straight line parts: one around the other, far from 0 and of odd scale."""
    rng = np.random.default_rng(seed)
    classes = np.arange(clips) % 2
    angles = rng.uniform(0, 2 * np.pi, clips)
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * (1 + 2 * classes)[:, None]
    points += 0.2 * rng.standard_normal(points.shape)
    return (points * [0.01, 30] + [5, -70]).astype(np.float32), classes


def fitted(name: str, train: tuple[np.ndarray, np.ndarray], others: tuple[np.ndarray, np.ndarray], **more: Any) -> Any:
    vectors, targets = train
    options: dict[str, Any] = {"hidden_size": 16, "balance": imbalance.PLAIN, "seed": 0} | more
    kind = "many" if targets.ndim == 2 else "one"

    def standing(head: FittedHead) -> float:
        return selection.score(head.logits(others[0]), others[1], kind).selection

    return fitting.fit(name, vectors, targets, 2, selection=standing, **options)


def accuracy(head: FittedHead, points: tuple[np.ndarray, np.ndarray]) -> float:
    return float((head.logits(points[0]).argmax(axis=1) == points[1]).mean())


def test_an_mlp_parts_what_no_line_does() -> None:
    head = fitted("mlp", rings(200), rings(60, 1))
    assert accuracy(head, rings(100, 2)) > 0.95
    assert not head.module.training


def test_the_same_seed_gives_the_same_weights_and_leaves_the_generator_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "_STEPS", 60)
    state = torch.random.get_rng_state()
    first, second, other = (fitted("mlp", rings(40), rings(20, 1), seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_array_equal(first.logits(rings(9)[0]), second.logits(rings(9)[0]))
    assert (first.logits(rings(9)[0]) != other.logits(rings(9)[0])).any()


def test_prototypes_begin_at_the_means_with_the_variance_around_them() -> None:
    head = heads.Prototypes(2, 2)
    head.begin(torch.tensor([[0.0, 0.0], [2.0, 2.0], [5.0, 5.0]]), torch.tensor([0, 0, 1]))
    torch.testing.assert_close(head.prototypes.detach(), torch.tensor([[1.0, 1.0], [5.0, 5.0]]))
    torch.testing.assert_close(head.log_scale.detach().exp(), torch.tensor(1 / (2 * 4 / 6)))


@pytest.mark.parametrize("name", ["mlp", "prototype"])
def test_undoing_the_standardisation_leaves_the_logits(name: str) -> None:
    vectors, _ = rings(10)
    mean, scale = vectors.mean(axis=0, dtype=np.float64), np.array([0.5, 0.5] if name == "prototype" else [0.02, 40.0])
    head: Any = heads.head(name, 2, 2, 4).eval()
    with torch.inference_mode():
        before = head(torch.from_numpy(((vectors - mean) / scale).astype(np.float32)))
    head.undo(mean, scale)
    with torch.inference_mode():
        torch.testing.assert_close(head(torch.from_numpy(vectors)), before, rtol=1e-3, atol=1e-3)


def test_prototypes_find_classes_that_are_clouds() -> None:
    rng = np.random.default_rng(0)
    classes = np.arange(90) % 2
    points = (rng.standard_normal((90, 2)) + 4 * classes[:, None]).astype(np.float32)
    head = fitted("prototype", (points[:60], classes[:60]), (points[60:], classes[60:]))
    assert accuracy(head, (points[60:], classes[60:])) == 1.0


def test_an_mlp_may_find_several_labels_a_clip() -> None:
    vectors, inside = rings(200)
    targets = np.stack([inside, vectors[:, 1] > -70], axis=1).astype(np.float32)
    train, others = (vectors[:150], targets[:150]), (vectors[150:], targets[150:])
    head = fitted("mlp", train, others, balance=Balance(BinaryCrossEntropy()))
    assert ((head.logits(others[0]) > 0) == others[1]).mean() > 0.9


def test_clips_count_as_the_balance_says() -> None:
    vectors, classes = rings(40)
    draws = np.where(classes == 0, 2.0, 0.0)  # the second class is never drawn
    head = fitted("mlp", (vectors, classes), (vectors, 0 * classes), balance=Balance(CrossEntropy(), draws=draws))
    assert (head.logits(vectors).argmax(axis=1) == 0).all()
    assert head.logits(vectors)[:, 0].min() > head.logits(vectors)[:, 1].max()
