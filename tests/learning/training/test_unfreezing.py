import pytest
import torch
from torch import nn

from tenuto.errors import SettingsError
from tenuto.learning.training.unfreezing import Unfreezing, free_levels


def network() -> nn.Sequential:
    """Front, three layers of which the second is a batch norm, and a head."""
    return nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2), nn.Linear(2, 2))


def free(model: nn.Sequential) -> list[bool]:
    return [all(p.requires_grad for p in layer.parameters()) for layer in model]


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [(1, [5]), (2, [3, 5]), (3, [3, 4, 5]), (6, [2, 3, 4, 5, 5, 5]), (9, [2, 3, 3, 4, 4, 5, 5, 5, 5])],
)
def test_gradual_unfreezing_has_freed_all_levels_by_the_last_third(epochs: int, expected: list[int]) -> None:
    assert [free_levels("gradual", 5, epoch, epochs) for epoch in range(epochs)] == expected


def test_layers_are_freed_from_the_top() -> None:
    model = network()
    unfreezing = Unfreezing(model, [list(layer.parameters()) for layer in model], "gradual", epochs=6)
    unfreezing.begin(0)
    assert free(model) == [False, False, False, True, True]
    unfreezing.begin(5)
    assert free(model) == [True] * 5


@pytest.mark.parametrize(
    ("choice", "expected"), [("all", 5), ("head", 1), (1, 2), (3, 4)], ids=["all", "head", "one", "three"]
)
def test_n_top_layers_come_with_the_head(choice: str | int, expected: int) -> None:
    model = network()
    Unfreezing(model, [list(layer.parameters()) for layer in model], choice, epochs=2).begin(0)
    assert free(model) == [False] * (5 - expected) + [True] * expected


def test_what_was_frozen_before_stays_frozen() -> None:
    model = network()
    model[3].requires_grad_(False)
    unfreezing = Unfreezing(model, [list(layer.parameters()) for layer in model], "gradual", epochs=3)
    for epoch in range(3):
        unfreezing.begin(epoch)
        assert not free(model)[3]


def test_more_layers_than_there_are_is_an_error_with_their_number() -> None:
    model = network()
    with pytest.raises(SettingsError, match=r"finetune\.unfreeze 4: the model has 3 layers; wanted at most 3"):
        Unfreezing(model, [list(layer.parameters()) for layer in model], 4, epochs=1)


@pytest.mark.parametrize(("choice", "moves"), [("head", False), ("all", True)])
def test_a_frozen_batch_norm_does_not_follow_the_batches(choice: str, moves: bool) -> None:
    model = network()
    unfreezing = Unfreezing(model, [list(layer.parameters()) for layer in model], choice, epochs=1)
    unfreezing.begin(0)
    model.train()
    unfreezing.hold_statistics()
    model(torch.randn(8, 2, generator=torch.Generator().manual_seed(0)) + 5)
    assert (model[2].running_mean.abs().sum() > 0) == moves
