"""Losses of clips with several labels against torch's own, then cases computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from tenuto.learning.losses import Asymmetric, BinaryCrossEntropy, BinaryFocal, Loss, positive_weights

OFF = {"gamma_positive": 0.0, "gamma_negative": 0.0, "margin": 0.0}


def answers(clips: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    targets = torch.rand(clips, 3, generator=generator) < torch.tensor([0.5, 0.2, 0.05])
    return 3 * torch.randn(clips, 3, generator=generator), targets.float()


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 4.0, 0.5])], ids=["alike", "weighted"])
@pytest.mark.parametrize(
    "loss", [BinaryCrossEntropy, lambda w: BinaryFocal(w, gamma=0.0), lambda w: Asymmetric(w, **OFF)]
)
def test_without_its_extra_a_loss_is_torchs_binary_cross_entropy(
    loss: type[Loss], weights: torch.Tensor | None
) -> None:
    logits, targets = answers()
    wanted = functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights, reduction="none")
    torch.testing.assert_close(loss(weights)(logits, targets), wanted.mean(dim=1))


def test_positives_are_evened_out_with_the_rest() -> None:
    """Of 10 clips 2, 5, none and all have the label."""
    positives = torch.tensor([2.0, 5.0, 0.0, 10.0])
    assert positive_weights(positives, 10, "none") is None
    torch.testing.assert_close(positive_weights(positives, 10, "inverse"), torch.tensor([4.0, 1.0, 1.0, 1.0]))
    effective = positive_weights(positives, 10, "effective-number")
    assert effective is not None
    assert effective[0].item() == pytest.approx((1 - 0.999**8) / (1 - 0.999**2))


def test_smoothing_moves_both_answers_towards_one_half() -> None:
    """p = 3/4: -0.9 log 3/4 - 0.1 log 1/4 where the label is there."""
    loss = BinaryCrossEntropy(label_smoothing=0.2)(torch.tensor([[math.log(3.0)]]), torch.tensor([[1.0]]))
    assert loss.item() == pytest.approx(-0.9 * math.log(3 / 4) - 0.1 * math.log(1 / 4))


def test_focal_by_hand() -> None:
    """p = 1/4 and p = 3/4 of what is true: the mean of (3/4)^2 log 4 and (1/4)^2 log 4/3."""
    loss = BinaryFocal(gamma=2.0)(torch.tensor([[-math.log(3.0), -math.log(3.0)]]), torch.tensor([[1.0, 0.0]]))
    assert loss.item() == pytest.approx(((3 / 4) ** 2 * math.log(4) + (1 / 4) ** 2 * math.log(4 / 3)) / 2)


def test_asymmetric_by_hand() -> None:
    """p = 3/4, margin 1/4: -(1/4) log 3/4 for a label that is there, -(1/2)^4 log 1/2 for one that is not."""
    loss = Asymmetric(gamma_positive=1.0, gamma_negative=4.0, margin=0.25)
    logits = torch.tensor([[math.log(3.0)]])
    assert loss(logits, torch.tensor([[1.0]])).item() == pytest.approx(-math.log(3 / 4) / 4)
    assert loss(logits, torch.tensor([[0.0]])).item() == pytest.approx(-math.log(1 / 2) / 16)


def test_an_easy_negative_below_the_margin_loses_nothing() -> None:
    assert Asymmetric(margin=0.05)(torch.tensor([[-4.0]]), torch.tensor([[0.0]])).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("loss", [BinaryCrossEntropy(), BinaryFocal(gamma=0.5), Asymmetric(), Asymmetric(**OFF)])
def test_gradients_of_certain_answers_are_finite(loss: Loss) -> None:
    logits = torch.tensor([[90.0, -90.0, 90.0, -90.0]], requires_grad=True)
    loss(logits, torch.tensor([[1.0, 1.0, 0.0, 0.0]])).sum().backward()
    assert logits.grad is not None and logits.grad.isfinite().all()
