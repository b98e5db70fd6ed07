from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tenuto.learning.training.averaging import FILE_NAME, Average, measure_batch_norms


class Scaled(nn.Module):
    """A batch norm behind a weight, called as models of transformers are."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.norm = nn.BatchNorm1d(1)

    def forward(self, input_values: Tensor) -> Tensor:
        return self.norm(self.weight * input_values)


def follow(average: Average, model: Scaled, values: list[float]) -> None:
    for step, value in enumerate(values, start=1):
        model.weight.data.fill_(value)
        average.update(step)


def inside(average: Average, model: Scaled) -> float:
    with average.installed(list):
        return model.weight.item()


def test_ema_by_hand() -> None:
    model = Scaled()
    average = Average(model, "ema", epochs=1, steps_per_epoch=3)
    follow(average, model, [1.0, 2.0, 4.0])
    # the newest counts 9/9, 9/10 and 9/11
    assert inside(average, model) == pytest.approx((0.1 * 1 + 0.9 * 2) * 2 / 11 + 4 * 9 / 11)
    assert model.weight.item() == 4.0, "training goes on from its own weights"


def test_ema_forgets_no_faster_than_its_decay() -> None:
    model = Scaled()
    average = Average(model, "ema", epochs=1, steps_per_epoch=1)
    model.weight.data.fill_(0.0)
    average.update(1)
    model.weight.data.fill_(1.0)
    average.update(100_000)
    assert inside(average, model) == pytest.approx(0.001)


def test_swa_is_the_mean_of_the_last_quarter() -> None:
    model = Scaled()
    average = Average(model, "swa", epochs=8, steps_per_epoch=2)
    follow(average, model, [float(step) for step in range(1, 13)])
    assert inside(average, model) == 12.0, "nothing to average before"
    for step, value in enumerate([5.0, 6.0, 10.0, 11.0], start=13):
        model.weight.data.fill_(value)
        average.update(step)
    assert inside(average, model) == pytest.approx((5 + 6 + 10 + 11) / 4)


def test_the_mean_survives_in_a_file_bit_for_bit(tmp_path: Path) -> None:
    model = Scaled()
    average = Average(model, "ema", epochs=1, steps_per_epoch=4)
    average.save(tmp_path)
    assert not (tmp_path / FILE_NAME).exists(), "there is nothing yet"
    follow(average, model, [0.1, 0.7])
    average.save(tmp_path)
    again = Average(model, "ema", epochs=1, steps_per_epoch=4)
    again.load(tmp_path)
    for one in (average, again):
        model.weight.data.fill_(0.3)
        one.update(3)
    assert inside(average, model) == inside(again, model)
    again.install()
    assert model.weight.item() == inside(average, model)


def test_batch_norms_of_averaged_weights_are_measured_anew() -> None:
    model = Scaled()
    model.weight.data.fill_(2.0)
    batches = [torch.tensor([[1.0], [3.0]]), torch.tensor([[5.0], [7.0]])]
    measure_batch_norms(model, lambda: [{"input_values": batch} for batch in batches])
    assert model.norm.running_mean.item() == pytest.approx(2 * (2 + 6) / 2)
    assert model.norm.running_var.item() == pytest.approx(2**2 * 2)
    assert model.norm.momentum == 0.1
    assert model.training


def test_swa_keeps_measured_statistics_to_itself() -> None:
    model = Scaled()
    average = Average(model, "swa", epochs=1, steps_per_epoch=2)
    follow(average, model, [1.0, 3.0])
    own = model.norm.running_mean.clone()
    with average.installed(lambda: [{"input_values": torch.tensor([[1.0], [3.0]])}]):
        assert model.norm.running_mean.item() == pytest.approx(2 * 2)
    assert torch.equal(model.norm.running_mean, own)
    average.install()
    assert model.norm.running_mean.item() == pytest.approx(2 * 2)
