import math

import pytest
import torch

from tenuto.learning import heads


def test_a_prototype_scores_by_minus_the_scaled_squared_distance() -> None:
    head = heads.Prototypes(2, 3)
    with torch.no_grad():
        head.prototypes.copy_(torch.tensor([[0.0, 0.0], [3.0, 4.0], [1.0, 1.0]]))
        head.log_scale.fill_(math.log(0.5))
    torch.testing.assert_close(
        head(torch.tensor([[0.0, 0.0], [1.0, 0.0]])), torch.tensor([[0.0, -12.5, -1.0], [-0.5, -10.0, -0.5]])
    )


def test_an_mlp_is_rectified_once() -> None:
    head = heads.MLP(1, 1, 2).eval()
    with torch.no_grad():
        head.hidden.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        head.hidden.bias.copy_(torch.tensor([0.0, 1.0]))
        head.output.weight.copy_(torch.tensor([[2.0, 3.0]]))
        head.output.bias.fill_(0.5)
    torch.testing.assert_close(head(torch.tensor([[4.0], [-1.0]])), torch.tensor([[8.5], [6.5]]))


def test_an_mlp_drops_units_in_training_alone() -> None:
    torch.manual_seed(0)
    head, vectors = heads.MLP(4, 2, 64), torch.randn(3, 4)
    assert not torch.equal(head(vectors), head(vectors))
    head.eval()
    assert torch.equal(head(vectors), head(vectors))


@pytest.mark.parametrize("name", ["linear", "mlp", "prototype"])
def test_a_head_gives_a_score_per_class(name: str) -> None:
    assert heads.head(name, 5, 3, 7)(torch.randn(2, 5)).shape == (2, 3)
