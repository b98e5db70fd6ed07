from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForAudioClassification, Trainer, TrainingArguments

from tenuto.learning.backbones import families
from tenuto.learning.training import optimizers
from tenuto.settings import FinetuneSettings
from tests.chirps import tiny_checkpoint


def group(*parameters: nn.Parameter, **changes: Any) -> list[optimizers.Group]:
    return [{"params": list(parameters), "lr": 0.1, "weight_decay": 0.0, **changes}]


def test_lion_by_hand() -> None:
    weight = nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    lion = optimizers.Lion(group(weight, weight_decay=0.5), lr=0.1)
    weight.grad = torch.tensor([4.0, -0.001, 0.0])
    lion.step()
    # the signs are 1, -1, 0; decay takes 0.1 x 0.5 = 5 % of each weight
    torch.testing.assert_close(weight.data, torch.tensor([0.95 - 0.1, -1.9 + 0.1, 2.85]))
    torch.testing.assert_close(lion.state[weight]["mean"], torch.tensor([0.04, -0.00001, 0.0]))
    weight.grad = torch.tensor([-0.3, -1.0, -1.0])
    lion.step()
    # 0.9 x 0.04 - 0.1 x 0.3 = 0.006 still points up, against the new gradient
    torch.testing.assert_close(weight.data, torch.tensor([0.8075 - 0.1, -1.71 + 0.1, 2.7075 + 0.1]))
    torch.testing.assert_close(lion.state[weight]["mean"][0], torch.tensor(0.99 * 0.04 - 0.01 * 0.3))


def test_weights_without_gradient_stay_where_they_are() -> None:
    for name in optimizers.RATE_FACTORS:
        free, frozen = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
        optimizer = optimizers.optimizer(name, group(free, frozen, weight_decay=0.5), 0.1)
        free.grad = torch.ones(2)
        optimizer.step()
        assert bool((free < 1).all()), name
        assert frozen.tolist() == [1, 1], name


def test_sgd_has_momentum_and_adafactor_the_rate_that_is_asked_for() -> None:
    weight = nn.Parameter(torch.tensor([1.0]))
    sgd = optimizers.optimizer("sgd", group(weight), 0.1)
    for gradient in (1.0, 0.0):
        weight.grad = torch.tensor([gradient])
        sgd.step()
    assert weight.item() == pytest.approx(1 - 0.1 - 0.1 * 0.9)
    first = nn.Parameter(torch.tensor([100.0]))
    adafactor = optimizers.optimizer("adafactor", group(first), 0.1)
    first.grad = torch.tensor([7.0])
    adafactor.step()
    assert first.item() == pytest.approx(100 - 0.1), "its first step is the sign, times the rate, whatever the weight"


@pytest.fixture(scope="module")
def three_layers(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tiny_checkpoint("wav2vec2", tmp_path_factory.mktemp("model") / "wav2vec2", layers=3)
    return AutoModelForAudioClassification.from_pretrained(folder)


def test_the_rate_of_every_layer_by_hand(three_layers: Any) -> None:
    settings = FinetuneSettings(layer_decay=0.5, head_learning_rate=1.0)
    found = optimizers.groups(three_layers, families.stack(three_layers), settings, 0.008, {"classifier.weight"})
    rates = {id(p): group["lr"] for group in found for p in group["params"]}
    expected = {
        "wav2vec2.feature_extractor.": 0.001,
        "wav2vec2.encoder.layers.0.": 0.002,
        "wav2vec2.encoder.layers.1.": 0.004,
        "wav2vec2.encoder.layers.2.": 0.008,
        "classifier.": 1.0,
    }
    for start, rate in expected.items():
        inside = [p for name, p in three_layers.named_parameters() if name.startswith(start)]
        assert inside
        assert [rates[id(p)] for p in inside] == pytest.approx([rate] * len(inside)), start
    assert len(rates) == len(list(three_layers.parameters()))


def test_weight_decay_leaves_out_what_the_trainer_leaves_out(three_layers: Any, tmp_path: Path) -> None:
    trainer = Trainer(three_layers, TrainingArguments(str(tmp_path), weight_decay=0.3, report_to="none"))
    theirs = trainer.create_optimizer().param_groups
    settings = FinetuneSettings(weight_decay=0.3)
    names = trainer.get_decay_parameter_names(three_layers)
    ours = optimizers.groups(three_layers, families.stack(three_layers), settings, 5e-5, names)
    for our, their in zip(sorted(ours, key=lambda g: -g["weight_decay"]), theirs, strict=True):
        assert [id(p) for p in our["params"]] == [id(p) for p in their["params"]]
        assert (our["weight_decay"], our["lr"]) == (their["weight_decay"], their["lr"])
    biases = [p for name, p in three_layers.named_parameters() if name.endswith("bias")]
    decayed = {id(p) for group in ours if group["weight_decay"] for p in group["params"]}
    assert not decayed & {id(p) for p in biases}


def rates(name: str, steps: int, warmup_steps: int, optimizer: str = "adamw") -> list[float]:
    weight = nn.Parameter(torch.ones(1))
    stepped = optimizers.optimizer(optimizer, group(weight), 0.1)
    schedule = optimizers.schedule(name, stepped, warmup_steps=warmup_steps, steps=steps)
    found = []
    for _ in range(steps):
        found.append(stepped.param_groups[0]["lr"])
        stepped.step()
        schedule.step()
    return found


def test_schedules_by_hand() -> None:
    assert rates("constant", 5, 2) == pytest.approx([0.0, 0.05, 0.1, 0.1, 0.1])
    assert rates("cosine", 6, 2) == pytest.approx([0.0, 0.05, 0.1, 0.1 * 0.853553, 0.05, 0.1 * 0.146447], rel=1e-5)
    cycle = rates("one-cycle", 11, 3)
    assert cycle[0] == pytest.approx(0.1 / 25)
    assert cycle.index(max(cycle)) == 2
    assert max(cycle) == pytest.approx(0.1)
    assert cycle[-1] == pytest.approx(0.1 / 25 / 1e4)


@pytest.mark.parametrize("optimizer", list(optimizers.RATE_FACTORS))
@pytest.mark.parametrize(("steps", "warmup_steps"), [(1, 0), (2, 1), (10, 1), (10, 0), (10, 9), (10, 10)])
def test_one_cycle_goes_with_every_optimizer_and_length(optimizer: str, steps: int, warmup_steps: int) -> None:
    found = rates("one-cycle", steps, warmup_steps, optimizer)
    assert all(0 < rate <= 0.1 for rate in found)
