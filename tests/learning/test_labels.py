"""Clips with several labels on the way from the clips table to a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tenuto import labels
from tenuto.errors import TrainingError
from tenuto.learning import augment, curve, finetune, imbalance, selection
from tenuto.learning.calibration import FILE_NAME
from tenuto.learning.losses import Asymmetric, BinaryCrossEntropy, BinaryFocal
from tenuto.learning.predictor import Predictor
from tenuto.learning.remedies import comparison
from tenuto.records import Checkpoint
from tenuto.settings import AugmentSettings, FinetuneSettings, ImbalanceSettings, Params
from tenuto.sound import audio
from tests.chirps import params
from tests.sounds import NAMES, RATE_HZ, write_sounds

SETTINGS = {"data": {"labels": "many"}, "augment": {"pitch": 0, "stretch": 0}, "calibrate": {"thresholds": True}}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Sixty clips, fifteen of each: the noise, the tone, both, neither."""
    data = tmp_path_factory.mktemp("data")
    rows: list[dict[str, Any]] = []
    for index, (name, label) in enumerate(write_sounds(data)):
        split = ("train", "validation", "train", "test", "train")[index // 4 % 5]
        facts = {"duration_seconds": 0.5, "sample_rate_hz": RATE_HZ}
        rows.append({"clip_id": name[:3], "path": name, "label": label, "split": split} | facts)
    found = pd.DataFrame(rows)
    found.attrs["data"] = data
    return found


@pytest.fixture(scope="module")
def trained(clips: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("models")
    return finetune.train_candidate(clips, clips.attrs["data"], params(**SETTINGS), folder, folder / "candidate")


def test_a_model_finds_both_of_two_sounds_at_once_and_none_in_silence(clips: pd.DataFrame, trained: Checkpoint) -> None:
    predictor = Predictor.load(trained.path)
    assert (predictor.kind, predictor.labels) == ("many", NAMES)
    test = clips[clips["split"] == "test"]
    paths = [clips.attrs["data"] / path for path in test["path"]]
    found = predictor.predict([audio.load_waveform(path, RATE_HZ) for path in paths])
    truth = labels.matrix(test["label"].tolist(), NAMES)
    assert found[truth].min() > found[~truth].max()
    assert np.array_equal(predictor.decide(found), truth)
    assert trained.validation["probe_macro_f1"] > 0.9


def test_the_calibration_is_part_of_the_checkpoint(trained: Checkpoint) -> None:
    fitted = Predictor.load(trained.path).calibration
    assert (trained.path / FILE_NAME).is_file()
    assert (fitted.temperature, fitted.note) == (1.0, "no temperature: 12 validation clips, at least 30 wanted")
    assert fitted.thresholds is not None and len(fitted.thresholds) == 2
    assert Predictor.load(trained.path).thresholds == dict(zip(NAMES, fitted.thresholds, strict=True))


@pytest.mark.parametrize("loss", ["focal", "asymmetric"])
def test_the_baseline_trains_with_every_binary_loss_and_mixup(clips: pd.DataFrame, tmp_path: Path, loss: str) -> None:
    mixup = {"augment": {"mixup_alpha": 0.4, "pitch": 0, "stretch": 0}}
    choices = params(**(SETTINGS | mixup | {"imbalance": {"loss": loss, "class_weights": "inverse"}}))
    made = finetune.train_baseline(clips, clips.attrs["data"], choices, tmp_path, tmp_path / "baseline")
    assert 0 < made.validation["log_loss"] < 2


def test_scores_of_several_labels_by_hand() -> None:
    """Label a: hit, miss, right no: F1 2/3. Label b: hit, false alarm, right no: F1 2/3."""
    said = np.array([[0.8, 0.9], [0.4, 0.6], [0.2, 0.3]])
    truth = np.array([[1, 1], [1, 0], [0, 0]], dtype=np.float32)
    found = selection.score(np.log(said / (1 - said)), truth, "many")
    assert found.macro_f1 == pytest.approx(2 / 3)
    assert found.log_loss == pytest.approx(-np.log([0.8, 0.9, 0.4, 0.4, 0.8, 0.7]).mean())


def test_each_label_is_filled_and_copies_count_for_all_labels_of_their_clip() -> None:
    rows = ["common"] * 10 + ["common;rare"] * 2 + ["middle"] * 4 + [""] * 3
    table = pd.DataFrame({"clip_id": [f"{n:02d}" for n in range(len(rows))], "label": rows, "split": "train"})
    copies = augment.plan(table, AugmentSettings(), np.random.default_rng(0), "many")
    assert copies["reason"].value_counts().to_dict() == {"label=rare": 10, "label=middle": 8}
    counts = labels.matrix([*rows, *copies["label"]], ("common", "middle", "rare")).sum(axis=0)
    assert counts.tolist() == [22, 12, 12]


def balanced(settings: dict[str, Any]) -> imbalance.Balance:
    rows = pd.DataFrame({"label": ["a"] * 6 + ["a;b"] * 2 + [""] * 4})
    chosen = ImbalanceSettings.model_validate(settings)
    return imbalance.balance(
        rows, labels.targets(rows["label"].tolist(), ("a", "b"), "many"), 2, chosen, FinetuneSettings()
    )


def test_the_settings_choose_the_binary_loss_and_weights_of_positives() -> None:
    kinds = {"cross-entropy": BinaryCrossEntropy, "focal": BinaryFocal, "asymmetric": Asymmetric}
    for name, kind in kinds.items():
        assert type(balanced({"loss": name}).loss) is kind
    torch.testing.assert_close(balanced({"class_weights": "inverse"}).loss.weights, torch.tensor([0.5, 5.0]))


def test_clips_are_drawn_by_the_rarest_of_their_labels() -> None:
    """Six clips of a alone, two whose rarest label is b, four of none: each kind a third of the draws."""
    draws = balanced({"sample_by": ["label"]}).draws
    assert draws is not None
    np.testing.assert_allclose(draws, [4 / 6] * 6 + [2.0] * 2 + [1.0] * 4)


def test_what_wants_one_label_a_clip_says_so(clips: pd.DataFrame, tmp_path: Path) -> None:
    many = Params.model_validate({"name": "sounds", "data": {"labels": "many"}})
    with pytest.raises(TrainingError, match="`tenuto remedies` wants one label a clip"):
        comparison.compare(clips, tmp_path, many, None, tmp_path)
    with pytest.raises(TrainingError, match="`tenuto curve` wants one label a clip"):
        curve.measure(clips, tmp_path, many, tmp_path, [5])
