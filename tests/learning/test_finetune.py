from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from tenuto.learning import finetune, preparation, selection
from tenuto.learning.predictor import Predictor
from tenuto.learning.selection import Scores
from tenuto.learning.training import trainer
from tenuto.settings import Params
from tests.chirps import params, tiny_checkpoint, write_clips


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("finetune")


@pytest.fixture(scope="module")
def clips(folder: Path) -> pd.DataFrame:
    return write_clips(folder / "data", {"down": 9, "flat": 9, "up": 9})


def accuracy(path: Path, clips: pd.DataFrame, data: Path) -> float:
    predictor = Predictor.load(path)
    test = clips[clips["split"] == "test"]
    probabilities = predictor.predict([predictor.preprocessing.read(data / name) for name in test["path"]])
    return float(np.mean(test["label"].to_numpy() == np.array(predictor.labels)[probabilities.argmax(axis=1)]))


def test_a_candidate_learns_chirps_and_a_second_call_takes_it_as_it_is(folder: Path, clips: pd.DataFrame) -> None:
    arguments = (clips, folder / "data", params(), folder / "cache", folder / "candidate")
    made = finetune.train_candidate(*arguments)
    assert accuracy(made.path, clips, folder / "data") == 1.0
    assert made.labels == ("down", "flat", "up")
    assert made.backbone_licence == "Apache-2.0"
    assert made.trainable_parameters == 328_128 + 97 * 3
    assert made.validation["macro_f1"] >= made.validation["probe_macro_f1"]
    assert finetune.train_candidate(*arguments) == made
    assert sorted(path.name for path in folder.glob("candidate*")) == ["candidate"]


def test_the_same_seed_gives_the_same_bytes(folder: Path, clips: pd.DataFrame) -> None:
    def weights(name: str, seed: int) -> bytes:
        made = finetune.train_candidate(clips, folder / "data", params(seed=seed), folder / "cache", folder / name)
        return (made.path / "model.safetensors").read_bytes()

    assert weights("first", 5) == weights("second", 5)


def test_no_epochs_still_train_a_baseline_for_one(folder: Path, clips: pd.DataFrame) -> None:
    settings = params(finetune={"epochs": 0})
    made = finetune.train_baseline(clips, folder / "data", settings, folder / "cache", folder / "opponent")
    assert made.origin == "epoch 1 from random weights"


def test_no_epochs_keep_the_probe(folder: Path, clips: pd.DataFrame) -> None:
    settings = params(finetune={"epochs": 0})
    made = finetune.train_candidate(clips, folder / "data", settings, folder / "cache", folder / "probe")
    assert made.origin == "linear probe"
    assert accuracy(made.path, clips, folder / "data") == 1.0


def test_the_probe_stays_when_fine_tuning_is_worse(
    folder: Path, clips: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(model, *_, **__) -> tuple[Scores, int]:
        for parameter in model.parameters():
            parameter.data.zero_()
        return Scores(macro_f1=0.1, log_loss=1.1), 1

    monkeypatch.setattr(trainer, "train", spoil)
    made = finetune.train_candidate(clips, folder / "data", params(), folder / "cache", folder / "spoiled")
    assert made.origin == "linear probe"
    assert made.validation["macro_f1"] == made.validation["probe_macro_f1"]
    assert accuracy(made.path, clips, folder / "data") == 1.0


def test_the_head_alone_can_be_trained(folder: Path, clips: pd.DataFrame) -> None:
    settings = params(finetune={"unfreeze": "head"})
    made = finetune.train_candidate(clips, folder / "data", settings, folder / "cache", folder / "head")
    assert made.trainable_parameters == 97 * 3


def test_a_baseline_is_the_same_architecture_from_random_weights(folder: Path, clips: pd.DataFrame) -> None:
    made = finetune.train_baseline(clips, folder / "data", params(), folder / "cache", folder / "baseline")
    assert made.origin == "epoch 1 from random weights"
    assert made.trainable_parameters == 328_128 + 97 * 3 + 2 * (3 * 24 + 4 * 48 + 4 * 72 + 8 * 96)
    assert accuracy(made.path, clips, folder / "data") < 1.0


@pytest.mark.parametrize("name", ["log-mel-cnn", "log-mel-crnn"])
def test_a_baseline_may_be_a_small_network_instead(name: str, folder: Path, clips: pd.DataFrame) -> None:
    settings = params(finetune={"baseline": name})
    baseline = finetune.train_baseline(clips, folder / "data", settings, folder / "cache", folder / name)
    assert baseline.backbone == name
    assert 0 <= accuracy(baseline.path, clips, folder / "data") <= 1


@pytest.mark.parametrize("family", ["ast", "wav2vec2", "hubert", "wavlm", "whisper"])
def test_other_families_go_the_same_way(family: str, folder: Path, clips: pd.DataFrame) -> None:
    backbone = tiny_checkpoint(family, folder / family)
    settings = params(backbone=str(backbone))
    few = clips.groupby(["label", "split"]).head(2)
    candidate = finetune.train_candidate(few, folder / "data", settings, folder / "cache", folder / f"{family}-c")
    baseline = finetune.train_baseline(few, folder / "data", settings, folder / "cache", folder / f"{family}-b")
    assert candidate.labels == baseline.labels == ("down", "flat", "up")
    assert candidate.backbone_revision == baseline.backbone_revision
    assert 0 <= accuracy(candidate.path, few, folder / "data") <= 1


def test_another_head_is_fitted_and_kept_without_epochs(folder: Path, clips: pd.DataFrame) -> None:
    settings = params(model={"head": "mlp", "hidden_size": 8}, finetune={"epochs": 0})
    made = finetune.train_candidate(clips, folder / "data", settings, folder / "cache", folder / "mlp")
    assert made.origin == "mlp on frozen embeddings"
    assert made.trainable_parameters == 97 * 8 + 9 * 3
    assert accuracy(made.path, clips, folder / "data") == 1.0


def test_low_rank_updates_are_written_as_plain_weights(
    folder: Path, clips: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "is_better", lambda *_: True)  # no head is kept
    backbone = tiny_checkpoint("wav2vec2", folder / "low-rank")
    settings = params(backbone=str(backbone), model={"lora_rank": 2})
    few = clips.groupby(["label", "split"]).head(2)
    arguments = (few, folder / "data", settings, folder / "cache")
    candidate = finetune.train_candidate(*arguments, folder / "low-rank-c")
    assert candidate.origin == "epoch 1 of fine-tuning"
    assert candidate.trainable_parameters == 2 * 2 * (16 + 16) + 17 * 3
    before = setup_weights(few, folder, settings)
    after = load_file(candidate.path / "model.safetensors")
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert after.keys() == before.keys()
    projections = {f"encoder.encoder.layers.0.attention.{name}_proj.weight" for name in ("q", "v")}
    assert projections < moved <= projections | {"head.weight", "head.bias"}
    baseline = finetune.train_baseline(*arguments, folder / "low-rank-b")
    assert baseline.trainable_parameters == sum(value.numel() for value in before.values())


def setup_weights(clips: pd.DataFrame, folder: Path, settings: Params) -> dict[str, torch.Tensor]:
    return preparation.set_up(clips, folder / "data", settings).pretrained(settings).state_dict()


@pytest.mark.parametrize(
    ("model", "averaging"),
    [({"pool": "attention", "adapter_size": 3}, "ema"), ({"lora_rank": 2}, "none")],
    ids=["attention, adapters and EMA", "LoRA"],
)
def test_a_tailored_training_that_was_killed_ends_with_the_bits_it_would_have_had(
    folder: Path, clips: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, model: dict[str, Any], averaging: str
) -> None:
    monkeypatch.setattr(selection, "is_better", lambda *_: True)  # no head is kept
    work = folder / f"killed-{averaging}"
    backbone = tiny_checkpoint("wav2vec2", work / "backbone")
    choices = {"epochs": 3, "batch_size": 2, "averaging": averaging, "learning_rate": 1e-2}
    settings = params(backbone=str(backbone), model=model, finetune=choices)
    arguments = (clips.groupby(["label", "split"]).head(2), folder / "data", settings, folder / "cache")
    whole = finetune.train_candidate(*arguments, work / "whole")

    def kill(step: int, total: int) -> None:
        if step > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune.train_candidate(*arguments, work / "resumed", on_progress=kill)
    steps: list[int] = []
    resumed = finetune.train_candidate(*arguments, work / "resumed", on_progress=lambda step, _: steps.append(step))
    assert steps[0] > 1, "began from the start"
    assert "of fine-tuning" in resumed.origin and resumed.validation == whole.validation
    first, second = ((made.path / "model.safetensors").read_bytes() for made in (whole, resumed))
    assert first == second
