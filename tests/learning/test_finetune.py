from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from tenuto.errors import TrainingError
from tenuto.learning import embedding, finetune, predictor, trainer
from tenuto.learning.predictor import Predictor
from tenuto.learning.trainer import Scores
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


def test_filling_is_compared_for_what_was_rare(folder: Path) -> None:
    data = folder / "rare"
    table = write_clips(data, {"down": 24, "flat": 24, "up": 24})
    rare = (table["label"] == "up") & (table["split"] == "train")
    table = table[~rare | (rare.cumsum() <= 2)]
    compared = finetune.compare_fill(table, data, params(augment={"max_copies": 5}), folder / "cache")
    assert compared.copies["label=up"] == 10
    for name in ("without fill", "with fill"):
        assert set(compared.recall[name]) >= {"macro", "label=up"}
    assert compared.recall["with fill"]["label=up"] >= compared.recall["without fill"]["label=up"]


def test_nothing_rare_leaves_nothing_to_compare(folder: Path, clips: pd.DataFrame) -> None:
    compared = finetune.compare_fill(clips, folder / "data", params(), folder / "cache")
    assert compared.copies == {}
    assert compared.recall["with fill"] == compared.recall["without fill"]


@pytest.mark.parametrize("lost", ["train", "validation"])
def test_too_small_splits_say_what_is_missing(lost: str, folder: Path, clips: pd.DataFrame) -> None:
    with pytest.raises(TrainingError, match="wanted at least 2 classes and 1 validation clip"):
        finetune.train_candidate(
            clips[clips["split"] != lost], folder / "data", params(), folder / "cache", folder / "small"
        )


def test_another_head_is_fitted_and_kept_without_epochs(folder: Path, clips: pd.DataFrame) -> None:
    settings = params(model={"head": "mlp", "hidden_size": 8}, finetune={"epochs": 0})
    made = finetune.train_candidate(clips, folder / "data", settings, folder / "cache", folder / "mlp")
    assert made.origin == "mlp on frozen embeddings"
    assert made.trainable_parameters == 97 * 8 + 9 * 3
    assert accuracy(made.path, clips, folder / "data") == 1.0


def test_what_a_fitted_head_says_of_embeddings_the_model_says_of_clips(folder: Path, clips: pd.DataFrame) -> None:
    for model in ({"head": "prototype", "pool": "statistics"}, {"head": "mlp", "pool": "gru"}):
        settings = params(model=model)
        setup = finetune.set_up(clips, folder / "data", settings)
        made = setup.pretrained(settings)
        fitted = finetune.fit_head(setup.material, setup.encoder(made), settings, folder / "cache")
        fitted.install(made)
        vectors = embedding.embed(clips, folder / "data", setup.encoder(made), folder / "cache").vectors
        waves = embedding.waves(clips, folder / "data", setup.material.preprocessing)
        heard = predictor.logits(made, setup.material.preprocessing, waves)
        np.testing.assert_allclose(fitted.logits(vectors), heard, rtol=1e-3, atol=1e-3)


def test_embeddings_are_shared_by_what_leaves_them_alike(folder: Path, clips: pd.DataFrame) -> None:
    def key(**model: object) -> str:
        settings = params(model=model)
        setup = finetune.set_up(clips, folder / "data", settings)
        return setup.encoder(setup.pretrained(settings)).key

    assert key(pool="mean") == key(pool="gru") == key(pool="attention", head="mlp", adapter_size=2)
    others = [{}, {"pool": "max"}, {"pool": "mean", "truncate": 19}, {"pool": "mean", "window_seconds": 1.5}]
    assert len({key(pool="mean"), *(key(**model) for model in others)}) == 5


def test_low_rank_updates_are_written_as_plain_weights(
    folder: Path, clips: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "validate", lambda *_: Scores(macro_f1=0.1, log_loss=1.1))  # no head is kept
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
    return finetune.set_up(clips, folder / "data", settings).pretrained(settings).state_dict()
