from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tenuto.learning import backbones, trainer
from tenuto.learning.batches import Material, TrainingBatches
from tenuto.settings import AugmentSettings, FinetuneSettings
from tests.material import balanced, material

__all__ = ["material"]

SETTINGS = FinetuneSettings(epochs=2, batch_size=4)


def scratch() -> Any:
    return backbones.resolve("speech-embedding").from_scratch(("down", "up"), seed=0)


def train(model: Any, material: Material, work: Path, **changes: Any) -> tuple[trainer.Scores, int]:
    augmentation = AugmentSettings(**changes.pop("augmentation", {}))
    return trainer.train(model, material, augmentation, SETTINGS, learning_rate=1e-3, seed=0, work=work, **changes)


@pytest.mark.parametrize(
    "imbalance",
    [{}, {"loss": "ldam", "class_weights": "inverse", "group_dro": "accent"}, {"sample_by": ["label", "accent"]}],
    ids=["plain", "ldam and group DRO", "balanced"],
)
def test_a_killed_training_goes_on_and_ends_as_if_nothing_had_happened(
    material: Material, tmp_path: Path, imbalance: dict[str, Any]
) -> None:
    material = balanced(material, imbalance)

    class KilledError(Exception):
        pass

    def kill(step: int, total: int) -> None:
        if step > total // 2:
            raise KilledError

    whole, again = scratch(), scratch()
    expected = train(whole, material, tmp_path / "whole")
    with pytest.raises(KilledError):
        train(again, material, tmp_path / "killed", on_progress=kill)
    steps: list[int] = []
    (tmp_path / "killed" / "checkpoint-999").mkdir()  # one that was being written
    # a new process begins with new weights, which the work folder then replaces
    resumed = scratch()
    assert train(resumed, material, tmp_path / "killed", on_progress=lambda step, _: steps.append(step)) == expected
    assert steps[0] > 1, "began from the start"
    finished = scratch()
    assert train(finished, material, tmp_path / "whole", on_progress=pytest.fail) == expected
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
        assert torch.equal(finished.state_dict()[name], value), name


def test_the_weights_are_those_of_the_best_epoch_and_nothing_is_printed(
    material: Material, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    begin = TrainingBatches.begin
    monkeypatch.setattr(TrainingBatches, "begin", lambda self, epoch: (begun.append(epoch), begin(self, epoch)))
    model = scratch()
    best, epoch = train(model, material, tmp_path, augmentation={"mixup_alpha": 0.4})
    assert capsys.readouterr() == ("", "")
    now = trainer.validate(model, material, 4)
    assert now.selection == pytest.approx(best.selection, abs=1e-6)
    assert epoch in (1, 2)
    assert begun == [0, 0, 1], "each epoch draws its own audio"


def test_scores_by_hand() -> None:
    logits = np.log([[0.5, 0.5], [0.25, 0.75], [0.9, 0.1]])
    scores = trainer.score(logits, np.array([0, 1, 1]))
    assert scores.macro_f1 == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert scores.log_loss == pytest.approx(-np.log([0.5, 0.75, 0.1]).mean())


def test_the_log_loss_decides_between_equals_only() -> None:
    assert trainer.Scores(0.9, 0.1).selection > trainer.Scores(0.9, 0.2).selection
    assert trainer.Scores(0.91, 9.0).selection > trainer.Scores(0.9, 0.0).selection
