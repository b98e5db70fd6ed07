from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tenuto import backbones, trainer
from tenuto.preprocessing import Preprocessing
from tenuto.settings import AugmentSettings, FinetuneSettings
from tenuto.trainer import Material, TrainingBatches
from tests.chirps import write_clips

SETTINGS = FinetuneSettings(epochs=2, batch_size=4)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    data = tmp_path_factory.mktemp("data")
    clips = pd.concat(
        [write_clips(data, {"down": 6, "up": 6}), write_clips(data, {"down": 2, "up": 2}, seed=1, seconds=1.6)]
    )
    backbone = backbones.resolve("speech-embedding")
    return Material(
        data=data,
        labels=("down", "up"),
        train=clips[clips["split"] == "train"].reset_index(drop=True),
        validation=clips[clips["split"] != "train"],
        preprocessing=Preprocessing.of(backbone.feature_extractor, backbone.config, 10.0),
    )


def scratch() -> Any:
    return backbones.resolve("speech-embedding").from_scratch(("down", "up"), seed=0)


def train(model: Any, material: Material, work: Path, **changes: Any) -> tuple[trainer.Scores, int]:
    augmentation = AugmentSettings(**changes.pop("augmentation", {}))
    return trainer.train(model, material, augmentation, SETTINGS, learning_rate=1e-3, seed=0, work=work, **changes)


def test_an_epoch_holds_every_clip_once_in_batches_of_one_length(material: Material) -> None:
    batches = TrainingBatches(material, AugmentSettings(stretch=0), 4, seed=0)
    items = [batches[index] for index in range(len(batches))]
    assert sorted(int(label) for item in items for label in item["labels"]) == sorted(material.classes(material.train))
    lengths = {material.preprocessing.length(round(16_000 * s)) for s in material.train["duration_seconds"]}
    assert {item["features"].shape[1] for item in items} == lengths
    assert len(lengths) > 1


def test_an_epoch_is_known_by_seed_and_number_alone(material: Material) -> None:
    def features(seed: int, *epochs: int) -> torch.Tensor:
        batches = TrainingBatches(material, AugmentSettings(), 4, seed)
        for epoch in epochs:
            batches.begin(epoch)
        return torch.cat([batches[index]["features"].flatten() for index in range(len(batches))])

    straight = features(0, 0, 1, 2)
    assert torch.equal(features(0, 2), straight)
    assert features(0, 1).shape != straight.shape or not torch.equal(features(0, 1), straight)


def test_a_killed_training_goes_on_and_ends_as_if_nothing_had_happened(material: Material, tmp_path: Path) -> None:
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
        torch.testing.assert_close(resumed.state_dict()[name], value, msg=name)
        torch.testing.assert_close(finished.state_dict()[name], value, msg=name)


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


def test_masks_are_two_stripes_of_the_mean_per_clip() -> None:
    torch.manual_seed(0)
    features = torch.randn(16, 30, 40)
    masked = trainer.spec_augment(features)
    changed = masked != features
    assert 0 < changed.float().mean() < 0.24
    means = features.mean(dim=(1, 2), keepdim=True).expand_as(features)
    assert torch.equal(masked[changed], means[changed])
    for clip in changed:
        rows, columns = clip.all(dim=1), clip.all(dim=0)
        assert torch.equal(clip, rows[:, None] | columns[None, :])


def test_mixup_keeps_shares_in_range_and_every_partner() -> None:
    torch.manual_seed(0)
    shares = []
    for _ in range(200):
        share, partner = trainer.draw_mixup(5, 0.3)
        shares.append(share)
        assert sorted(partner.tolist()) == [0, 1, 2, 3, 4]
    assert 0 <= min(shares) < 0.1 and 0.9 < max(shares) <= 1
