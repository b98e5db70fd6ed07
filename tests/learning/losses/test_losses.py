"""Every loss against torch's own when its extra is off, then a case computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from tenuto.learning.losses import LDAM, CrossEntropy, Focal, GroupDRO, LogitAdjustment, Loss, class_weights

COUNTS = torch.tensor([80, 16, 4])


def answers(clips: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return 3 * torch.randn(clips, 3, generator=generator), torch.randint(3, (clips,), generator=generator)


@pytest.mark.parametrize(
    "loss",
    [
        CrossEntropy(),
        Focal(gamma=0.0),
        LogitAdjustment(COUNTS, tau=0.0),
        LogitAdjustment(torch.tensor([7, 7, 7])),
        LDAM(COUNTS, max_margin=0.0),
    ],
    ids=["cross-entropy", "focal", "logit adjustment", "logit adjustment, equal classes", "LDAM"],
)
def test_without_its_extra_a_loss_is_cross_entropy(loss: Loss) -> None:
    logits, classes = answers()
    torch.testing.assert_close(loss(logits, classes), functional.cross_entropy(logits, classes, reduction="none"))


@pytest.mark.parametrize("loss", [CrossEntropy, Focal, lambda w: LogitAdjustment(COUNTS, w)])
def test_class_weights_multiply_what_a_class_loses(loss: type[Loss]) -> None:
    logits, classes = answers()
    weights = torch.tensor([1.0, 2.0, 0.5])
    torch.testing.assert_close(loss(weights)(logits, classes), loss(None)(logits, classes) * weights[classes])


def test_smoothing_is_that_of_torch() -> None:
    logits, classes = answers()
    wanted = functional.cross_entropy(logits, classes, reduction="none", label_smoothing=0.1)
    torch.testing.assert_close(CrossEntropy(label_smoothing=0.1)(logits, classes), wanted)
    even = LogitAdjustment(torch.tensor([5, 5, 5]), label_smoothing=0.1)
    torch.testing.assert_close(even(logits, classes), wanted)


def test_focal_by_hand() -> None:
    """p = 1/4 for the class: (3/4)^2 log 4."""
    loss = Focal(gamma=2.0)(torch.tensor([[0.0, math.log(3.0)]]), torch.tensor([0]))
    assert loss.item() == pytest.approx((3 / 4) ** 2 * math.log(4))


def test_focal_of_a_clip_that_is_certain_has_a_finite_gradient() -> None:
    logits = torch.tensor([[60.0, -60.0]], requires_grad=True)
    Focal(gamma=0.5)(logits, torch.tensor([0])).sum().backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


def test_logit_adjustment_by_hand() -> None:
    """Equal logits: the class with a share of 4 % is given a probability of 4 %."""
    loss = LogitAdjustment(COUNTS)(torch.zeros(1, 3), torch.tensor([2]))
    assert loss.item() == pytest.approx(-math.log(0.04), abs=1e-6)


def test_a_class_without_clips_still_has_a_finite_adjustment() -> None:
    assert torch.isfinite(LogitAdjustment(torch.tensor([3, 0]))(torch.zeros(1, 2), torch.tensor([1]))).all()


def test_margins_by_hand() -> None:
    """16 clips and 1: margins 1/2 and 1 of 0.5 x 4 logits."""
    loss = LDAM(torch.tensor([16, 1]), max_margin=0.5, scale=4.0)
    assert loss.margins.tolist() == pytest.approx([1.0, 2.0])
    wanted = -math.log(math.exp(1.0 - 2.0) / (math.exp(1.0 - 2.0) + math.exp(0.5)))
    assert loss(torch.tensor([[0.5, 1.0]]), torch.tensor([1])).item() == pytest.approx(wanted)


def test_reweighting_is_deferred() -> None:
    logits, classes = answers()
    weights = torch.tensor([0.5, 1.0, 4.0])
    loss = LDAM(COUNTS, weights, defer=0.75)
    loss.begin(0.75)
    torch.testing.assert_close(loss(logits, classes), LDAM(COUNTS)(logits, classes))
    loss.begin(1.0)  # the last of three epochs, or the only one
    torch.testing.assert_close(loss(logits, classes), LDAM(COUNTS)(logits, classes) * weights[classes])


def test_inverse_weights_give_every_class_the_same_say() -> None:
    weights = class_weights(COUNTS, "inverse")
    assert weights is not None
    assert (weights * COUNTS).tolist() == pytest.approx([100 / 3] * 3)


def test_effective_numbers_by_hand() -> None:
    """Cui et al., equation 2: the effective number of 2 clips is 1 + b."""
    weights = class_weights(torch.tensor([1, 2]), "effective-number")
    assert weights is not None
    assert (weights[0] / weights[1]).item() == pytest.approx(1.999, rel=1e-5)
    assert (weights * torch.tensor([1, 2])).sum().item() == pytest.approx(3.0)


def test_no_weighting_and_a_class_without_clips() -> None:
    assert class_weights(COUNTS, "none") is None
    weights = class_weights(torch.tensor([3, 0]), "inverse")
    assert weights is not None and weights.tolist() == [1.0, 0.0]


def test_group_dro_without_steps_is_the_mean() -> None:
    dro = GroupDRO(2, step=0.0)
    values = torch.tensor([1.0, 2.0, 3.0, 6.0])
    assert dro(values, torch.tensor([0, 0, 1, 1])).item() == pytest.approx(3.0)


def test_group_dro_by_hand() -> None:
    """Means 1 and 2, step log 2: shares 2 to 4, so (1 x 1/3 + 2 x 2/3)."""
    dro = GroupDRO(2, step=math.log(2))
    assert dro(torch.tensor([1.0, 2.0]), torch.tensor([0, 1])).item() == pytest.approx(5 / 3)
    assert dro.shares.tolist() == pytest.approx([1 / 3, 2 / 3])


def test_group_dro_leaves_absent_groups_alone_and_learns_in_training_only() -> None:
    dro = GroupDRO(3, step=1.0)
    loss = dro(torch.tensor([2.0], requires_grad=True), torch.tensor([1]))
    assert loss.item() == pytest.approx(2.0)
    assert dro.shares[0] == dro.shares[2] < dro.shares[1]
    before = dro.shares.clone()
    dro.eval()
    dro(torch.tensor([5.0]), torch.tensor([0]))
    torch.testing.assert_close(dro.shares, before)


def test_group_dro_goes_where_the_values_are() -> None:
    dro = GroupDRO(2)
    found = dro(torch.ones(3, device="meta"), torch.zeros(3, dtype=torch.long, device="meta"))
    assert found.device.type == dro.shares.device.type == "meta"
