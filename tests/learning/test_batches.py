from dataclasses import replace

import numpy as np
import pytest
import torch

from tenuto.learning import backbones, batches
from tenuto.learning.batches import Material, TrainingBatches, draw_mixup, masked, mixed, spec_augment
from tenuto.learning.preprocessing import Preprocessing
from tenuto.settings import AugmentSettings
from tests.material import balanced, material

__all__ = ["material"]


def test_an_epoch_holds_every_clip_once_in_batches_of_one_length(material: Material) -> None:
    batches = TrainingBatches(material, AugmentSettings(stretch=0), 4, seed=0)
    items = [batches[index] for index in range(len(batches))]
    assert sorted(int(label) for item in items for label in item["labels"]) == sorted(material.targets(material.train))
    lengths = {material.preprocessing.framing.length(round(16_000 * s)) for s in material.train["duration_seconds"]}
    assert {item["features"]["input_values"].shape[1] for item in items} == lengths
    assert len(lengths) > 1


def test_an_epoch_is_known_by_seed_and_number_alone(material: Material) -> None:
    def features(seed: int, *epochs: int) -> torch.Tensor:
        batches = TrainingBatches(material, AugmentSettings(), 4, seed)
        for epoch in epochs:
            batches.begin(epoch)
        return torch.cat([batches[index]["features"]["input_values"].flatten() for index in range(len(batches))])

    straight = features(0, 0, 1, 2)
    assert torch.equal(features(0, 2), straight)
    assert features(0, 1).shape != straight.shape or not torch.equal(features(0, 1), straight)


def test_a_balanced_epoch_is_as_long_and_draws_what_is_rare_as_often(material: Material) -> None:
    """Of every length as many as before: the rare accent, one clip in five, comes as often as the usual one."""
    plain = TrainingBatches(material, AugmentSettings(), 4, seed=0)
    even = TrainingBatches(balanced(material, {"sample_by": ["accent"]}), AugmentSettings(), 4, seed=0)
    rare = (material.train["group_accent"] == "rare").to_numpy()
    drawn = []
    for epoch in range(150):
        even.begin(epoch)
        items = np.concatenate([even._members[places] for places in even._batches])
        assert (len(even), len(items)) == (len(plain), len(rare))
        drawn.append(rare[items].mean())
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.06)
    assert rare.mean() < 0.3


def test_what_a_batch_says_belongs_to_its_clips(material: Material) -> None:
    """Balanced batches carry the class and the group of the clips that were drawn."""
    whole = balanced(material, {"sample_by": ["accent"], "group_dro": "accent"})
    batches = TrainingBatches(whole, AugmentSettings(stretch=0, spec_augment=False), 4, seed=0)
    by_id = whole.train.set_index("clip_id")
    for index, places in enumerate(batches._batches):
        item, ids = batches[index], batches._rows["clip_id"].iloc[places]
        assert [whole.labels[label] for label in item["labels"]] == by_id.loc[ids, "label"].tolist()
        named = [whole.balance.group_names[group] for group in item["groups"]]
        assert named == by_id.loc[ids, "group_accent"].tolist()


def test_masks_are_two_stripes_of_the_mean_per_clip() -> None:
    torch.manual_seed(0)
    features = torch.randn(16, 30, 40)
    striped = spec_augment(features)
    changed = striped != features
    assert 0 < changed.float().mean() < 0.24
    means = features.mean(dim=(1, 2), keepdim=True).expand_as(features)
    assert torch.equal(striped[changed], means[changed])
    for clip in changed:
        rows, columns = clip.all(dim=1), clip.all(dim=0)
        assert torch.equal(clip, rows[:, None] | columns[None, :])


def test_only_spectrograms_are_masked_before_the_model() -> None:
    torch.manual_seed(0)
    waves = {"input_values": torch.randn(4, 300), "attention_mask": torch.ones(4, 300, dtype=torch.long)}
    assert masked(waves, has_windows=False) is waves
    windows = {"input_values": torch.randn(2, 3, 300)}
    assert masked(windows, has_windows=True) is windows
    spectrograms = {"input_features": torch.randn(4, 30, 40)}
    striped = masked(spectrograms, has_windows=False)
    assert not torch.equal(striped["input_features"], spectrograms["input_features"])
    windows = {"input_features": spectrograms["input_features"].unflatten(0, (2, 2))}
    torch.manual_seed(5)
    striped = masked(windows, has_windows=True)
    torch.manual_seed(5)
    one_by_one = spec_augment(spectrograms["input_features"])
    assert torch.equal(striped["input_features"].flatten(0, 1), one_by_one)


def test_a_batch_of_windows_is_as_large_as_one_of_clips(material: Material) -> None:
    """Many windows: few clips share a batch, and of one clip no more are trained on than so many."""
    backbone = backbones.resolve("log-mel-cnn")
    backbone.config.min_seconds = 0.1
    preprocessing = Preprocessing.of(backbone.feature_extractor, backbone.config, 10.0, window_seconds=0.2)
    batches = TrainingBatches(replace(material, preprocessing=preprocessing), AugmentSettings(stretch=0), 8, seed=0)
    shapes = [batches[index]["features"]["input_values"].shape for index in range(len(batches))]
    assert {samples for _, _, samples in shapes} == {3_200}
    assert max(windows for _, windows, _ in shapes) == 16
    assert all(clips == 1 or clips * windows <= 8 for clips, windows, _ in shapes)
    assert max(clips for clips, _, _ in shapes) == 2
    assert sum(clips for clips, _, _ in shapes) == len(material.train)


def test_of_two_mixed_clips_is_heard_what_either_lets_hear() -> None:
    features = {
        "input_values": torch.tensor([[1.0, 2.0, 0.0], [4.0, 0.0, 0.0]]),
        "attention_mask": torch.tensor([[1, 1, 0], [1, 0, 0]]),
    }
    both = mixed(features, 0.75, torch.tensor([1, 0]))
    assert both["input_values"].tolist() == [[1.75, 1.5, 0], [3.25, 0.5, 0]]
    assert both["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 0]]


def test_mixup_keeps_shares_in_range_and_every_partner() -> None:
    torch.manual_seed(0)
    shares = []
    for _ in range(200):
        share, partner = draw_mixup(5, 0.3)
        shares.append(share)
        assert sorted(partner.tolist()) == [0, 1, 2, 3, 4]
    assert 0 <= min(shares) < 0.1 and 0.9 < max(shares) <= 1


def test_validation_clips_are_prepared_once_when_they_are_small(
    material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[object] = []
    plain = Preprocessing.read
    monkeypatch.setattr(Preprocessing, "read", lambda self, path: (read.append(path), plain(self, path))[1])

    def heard(material: Material) -> list[tuple[list[int], torch.Tensor]]:
        return [(places, features["input_values"]) for places, features in material.validation_batches(4)]

    small, clips = replace(material), len(material.validation)
    first, second = heard(small), heard(small)
    assert len(read) == clips
    monkeypatch.setattr(batches, "_MAX_KEPT_BYTES", first[0][1].nbytes - 1)
    large = replace(material)
    third, fourth = heard(large), heard(large)
    assert len(read) == 3 * clips
    for other in (second, third, fourth):
        for (places, features), (same_places, same_features) in zip(first, other, strict=True):
            assert places == same_places
            assert torch.equal(features, same_features)
