import contextlib
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer, TrainingArguments

from tenuto.errors import SettingsError
from tenuto.learning import backbones, selection
from tenuto.learning.batches import Material, TrainingBatches
from tenuto.learning.training import trainer
from tenuto.settings import AugmentSettings, FinetuneSettings
from tests.material import balanced, material

__all__ = ["material"]


SETTINGS = FinetuneSettings(epochs=2, batch_size=4)


def scratch() -> Any:
    return backbones.resolve("speech-embedding").from_scratch(("down", "up"), seed=0)


def train(model: Any, material: Material, work: Path, **changes: Any) -> tuple[selection.Scores, int]:
    augmentation = AugmentSettings(**changes.pop("augmentation", {}))
    settings = SETTINGS.model_copy(update=changes.pop("finetune", {}))
    return trainer.train(model, material, augmentation, settings, learning_rate=1e-3, seed=0, work=work, **changes)


class KilledError(Exception):
    pass


EVERYTHING = {
    "epochs": 3,
    "optimizer": "lion",
    "schedule": "one-cycle",
    "unfreeze": "gradual",
    "averaging": "ema",
    "patience": 2,
    "layer_decay": 0.9,
    "head_learning_rate": 2e-3,
}


WORST_GROUP = {"loss": "ldam", "class_weights": "inverse", "group_dro": "accent"}


@pytest.mark.parametrize(
    ("imbalance", "finetune"),
    [
        pytest.param({}, {}, marks=pytest.mark.slow),
        pytest.param(WORST_GROUP, {}, marks=pytest.mark.slow),
        ({"sample_by": ["label", "accent"]}, {}),
        (WORST_GROUP, EVERYTHING),
        pytest.param({}, {"epochs": 3, "averaging": "swa", "optimizer": "sgd"}, marks=pytest.mark.slow),
        pytest.param({}, {"optimizer": "adafactor", "precision": "bfloat16", "unfreeze": 3}, marks=pytest.mark.slow),
    ],
    ids=["plain", "ldam and group DRO", "balanced", "everything", "swa", "adafactor in bfloat16"],
)
def test_a_killed_training_goes_on_and_ends_as_if_nothing_had_happened(
    material: Material, tmp_path: Path, imbalance: dict[str, Any], finetune: dict[str, Any]
) -> None:
    material = balanced(material, imbalance)

    def kill(step: int, total: int) -> None:
        if step > total // 2:
            raise KilledError

    whole, again = scratch(), scratch()
    expected = train(whole, material, tmp_path / "whole", finetune=finetune)
    with pytest.raises(KilledError):
        train(again, material, tmp_path / "killed", on_progress=kill, finetune=finetune)
    steps: list[int] = []
    (tmp_path / "killed" / "checkpoint-999").mkdir()  # one that was being written
    # a new process begins with new weights, which the work folder then replaces
    resumed = scratch()
    note = steps.append
    found = train(resumed, material, tmp_path / "killed", on_progress=lambda step, _: note(step), finetune=finetune)
    assert found == expected
    assert steps[0] > 1, "began from the start"
    finished, is_over = scratch(), expected[1] == finetune.get("epochs", SETTINGS.epochs)
    # when the best epoch was not the last, the Trainer keeps nothing of what came after it
    no_step = pytest.fail if is_over else None
    assert train(finished, material, tmp_path / "whole", on_progress=no_step, finetune=finetune) == expected
    for name, value in whole.state_dict().items():
        assert value.dtype in (torch.float32, torch.int64), name
        assert torch.equal(resumed.state_dict()[name], value), name
        assert torch.equal(finished.state_dict()[name], value), name


def test_a_checkpoint_that_was_being_deleted_is_not_taken(material: Material, tmp_path: Path) -> None:
    whole = scratch()
    expected = train(whole, material, tmp_path)
    last = max(tmp_path.glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))
    (last / "optimizer.pt").unlink()
    resumed = scratch()
    assert train(resumed, material, tmp_path) == expected
    assert all(torch.equal(resumed.state_dict()[name], value) for name, value in whole.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("step", range(1, 16, 2))
def test_killed_at_any_step(material: Material, tmp_path: Path, step: int) -> None:
    material = balanced(material, WORST_GROUP)

    def kill(at: int, total: int) -> None:
        if at == step:
            raise KilledError

    whole, resumed = scratch(), scratch()
    expected = train(whole, material, tmp_path / "whole", finetune=EVERYTHING)
    with contextlib.suppress(KilledError):  # patience may have stopped it before
        train(scratch(), material, tmp_path / "killed", on_progress=kill, finetune=EVERYTHING)
    assert train(resumed, material, tmp_path / "killed", finetune=EVERYTHING) == expected
    assert all(torch.equal(resumed.state_dict()[name], value) for name, value in whole.state_dict().items())


PROCESS = """
import os, pickle, signal, sys
import torch
from tests.learning.training.test_trainer import EVERYTHING, scratch, train

torch.set_num_threads(1)
folder, step = sys.argv[1], int(sys.argv[2])
with open(f"{folder}/material", "rb") as file:
    material = pickle.load(file)

def kill(at, total):
    if at == step:
        os.kill(os.getpid(), signal.SIGKILL)

from pathlib import Path
model = scratch()
train(model, material, Path(folder) / f"work{sys.argv[3]}", on_progress=kill, finetune=EVERYTHING)
torch.save(model.state_dict(), f"{folder}/weights{sys.argv[3]}")
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_process_that_was_killed_leaves_what_another_needs(material: Material, tmp_path: Path) -> None:
    (tmp_path / "material").write_bytes(pickle.dumps(balanced(material, WORST_GROUP)))

    def run(step: int, work: str) -> int:
        command = [sys.executable, "-P", "-c", PROCESS, str(tmp_path), str(step), work]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        return subprocess.run(command, env=environment, check=False).returncode

    assert run(0, "whole") == 0
    assert run(7, "killed") == -signal.SIGKILL, "in the middle of the second epoch"
    assert run(0, "killed") == 0
    whole, killed = (torch.load(tmp_path / f"weights{name}") for name in ("whole", "killed"))
    assert all(torch.equal(killed[name], value) for name, value in whole.items())


def scripted(monkeypatch: pytest.MonkeyPatch, scores: list[float]) -> None:
    """Validation scores as given, one after the other; a finished training has used up all that it is to use."""
    left = iter(scores)
    monkeypatch.setattr(selection, "validate", lambda *_: selection.Scores(next(left), 0.5))


def test_training_stops_when_patience_is_out_and_keeps_the_best_epoch(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, [0.2, 0.6, 0.5, 0.6, 0.9])
    steps: list[int] = []
    settings = {"epochs": 5, "patience": 2}

    def kill(*_: Any) -> None:
        raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(Trainer, "_load_best_model", kill)
        train(scratch(), material, tmp_path, finetune=settings, on_progress=lambda step, _: steps.append(step))
    assert steps[-1] == 4 * len(TrainingBatches(material, AugmentSettings(), 4, 0))
    best = train(scratch(), material, tmp_path, finetune=settings, on_progress=pytest.fail)
    assert best == (selection.Scores(0.6, 0.5), 2)


def test_patience_remembers_what_was_before_a_kill(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    per_epoch = len(TrainingBatches(material, AugmentSettings(), 4, 0))

    def kill(step: int, total: int) -> None:
        if step == 2 * per_epoch + 1:
            raise KilledError

    settings = {"epochs": 5, "patience": 2}
    scripted(monkeypatch, [0.6, 0.5])
    with pytest.raises(KilledError):
        train(scratch(), material, tmp_path, finetune=settings, on_progress=kill)
    scripted(monkeypatch, [0.4])  # a second epoch after it would find no score
    assert train(scratch(), material, tmp_path, finetune=settings) == (selection.Scores(0.6, 0.5), 1)


@pytest.mark.parametrize("averaging", ["ema", "swa"])
def test_averaged_weights_are_what_is_validated_and_what_remains(
    material: Material, tmp_path: Path, averaging: str
) -> None:
    plain, averaged = scratch(), scratch()
    train(plain, material, tmp_path / "plain", finetune={"epochs": 1})
    best, _ = train(averaged, material, tmp_path / "averaged", finetune={"epochs": 1, "averaging": averaging})
    assert not torch.equal(averaged.classifier.weight, plain.classifier.weight)
    now = selection.validate(averaged, material, 4)
    assert now.log_loss == pytest.approx(best.log_loss, abs=1e-6)


def test_only_the_head_moves_when_nothing_else_is_free(material: Material, tmp_path: Path) -> None:
    before, after = scratch(), scratch()
    train(after, material, tmp_path, finetune={"unfreeze": "head"})
    moved = {name for name, value in before.state_dict().items() if not torch.equal(after.state_dict()[name], value)}
    assert moved == {"classifier.weight", "classifier.bias"}, "or batch norms followed the batches"


def test_what_a_model_cannot_do_is_refused(material: Material, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"finetune\.gradient_checkpointing true: Speech\w+ cannot do it"):
        train(scratch(), material, tmp_path, finetune={"gradient_checkpointing": True})
    with pytest.raises(SettingsError, match=r"finetune\.unfreeze 21: the model has 20 layers"):
        train(scratch(), material, tmp_path, finetune={"unfreeze": 21})


def test_training_is_deterministic_and_torch_is_left_as_it_was(material: Material, tmp_path: Path) -> None:
    seen: list[bool] = []

    def note(*_: int) -> None:
        seen.append(torch.are_deterministic_algorithms_enabled())

    first, second = scratch(), scratch()
    train(first, material, tmp_path / "first", on_progress=note, finetune={"epochs": 1})
    torch.rand(7)
    train(second, material, tmp_path / "second", on_progress=note, finetune={"epochs": 1})
    assert all(seen)
    assert not torch.are_deterministic_algorithms_enabled()
    assert all(torch.equal(second.state_dict()[name], value) for name, value in first.state_dict().items())
    train(scratch(), material, tmp_path / "third", on_progress=note, finetune={"deterministic": False, "epochs": 1})
    assert not seen[-1]


def test_the_weights_are_those_of_the_best_epoch_and_nothing_is_printed(
    material: Material, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    begin = TrainingBatches.begin
    monkeypatch.setattr(TrainingBatches, "begin", lambda self, epoch: (begun.append(epoch), begin(self, epoch)))
    model = scratch()
    best, epoch = train(model, material, tmp_path, augmentation={"mixup_alpha": 0.4})
    assert capsys.readouterr() == ("", "")
    now = selection.validate(model, material, 4)
    assert now.selection == pytest.approx(best.selection, abs=1e-6)
    assert epoch in (1, 2)
    assert begun == [0, 0, 1], "each epoch draws its own audio"


@pytest.mark.parametrize("imbalance", [WORST_GROUP, {"loss": "ldam", "class_weights": "inverse"}])
def test_the_loss_is_where_the_model_is(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imbalance: dict[str, Any]
) -> None:
    """A step on torch's device without memory, which refuses other devices' numbers as a GPU does."""
    arguments = trainer._arguments(SETTINGS, 1e-3, 0, tmp_path)
    assert arguments.device.type != "meta"
    monkeypatch.setattr(TrainingArguments, "device", torch.device("meta"))
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # is not for meta
    made = balanced(material, imbalance)
    batches = TrainingBatches(made, AugmentSettings(), 4, 0)
    batches.begin(0)
    found = trainer._AudioTrainer(
        scratch(),
        arguments,
        batches=batches,
        material=made,
        augmentation=AugmentSettings(),
        settings=SETTINGS,
        on_progress=None,
        on_epoch=None,
    )
    found._loss.begin(1.0)
    value = found.compute_loss(found.model, found._prepare_inputs(batches[0]))
    assert value.device.type == "meta"
