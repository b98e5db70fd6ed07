"""Every family on a tiny random checkpoint: frames, layers cut off, parameters from bottom to top."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tenuto.errors import BackboneError
from tenuto.learning import backbones, finetune
from tenuto.learning.backbones import families, log_mel, quiet, speech_embedding
from tenuto.learning.predictor import Predictor
from tests.chirps import params, tiny_checkpoint, write_clips

LABELS = ("down", "flat", "up")
TRANSFORMERS = ("ast", "wav2vec2", "wav2vec2-stable", "hubert", "wavlm", "whisper")
OURS = (speech_embedding.NAME, log_mel.CNN, log_mel.CRNN)


def classifier(name: str, folder: Path, layers: int = 3) -> Any:
    source = name if name in OURS else str(tiny_checkpoint(name, folder / f"{name}-{layers}", layers=layers))
    backbone = backbones.resolve(source)
    build = backbone.pretrained if backbone.is_pretrained else backbone.from_scratch
    return build(LABELS, seed=0)


def inputs(model: Any, clips: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shape = {"audio-spectrogram-transformer": (96, 32), "whisper": (16, 100)}.get(model.config.model_type, (24_000,))
    return {model.main_input_name: 0.1 * torch.randn(clips, *shape, generator=generator)}


@pytest.mark.parametrize("name", [*TRANSFORMERS, *OURS])
def test_frames_are_as_wide_as_they_are_said_to_be(name: str, tmp_path: Path) -> None:
    model = classifier(name, tmp_path)
    family = families.of(model.config)
    encoder = family.encoder(model)
    with torch.no_grad():
        frames, heard = family.frames(encoder, inputs(model))
        pooled = family.pooled(encoder, inputs(model))
    assert frames.dim() == 3
    assert frames.shape[::2] == (2, family.width(encoder))
    assert frames.shape[1] > 1
    assert heard is None
    assert pooled.shape[0] == 2


@pytest.mark.parametrize("name", ["ast", "wav2vec2", "whisper", "speech-embedding", log_mel.CNN, log_mel.CRNN])
def test_the_own_vector_of_a_clip_is_what_the_classifier_gets(name: str, tmp_path: Path) -> None:
    model = classifier(name, tmp_path)
    family = families.of(model.config)
    with torch.no_grad():
        vector = family.pooled(family.encoder(model), inputs(model))
        vector = model.projector(vector) if hasattr(model, "projector") else vector  # linear: before the mean or after
        torch.testing.assert_close(model.classifier(vector), model(**inputs(model)).logits)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_the_first_layers_give_the_hidden_states_of_the_whole(name: str, tmp_path: Path) -> None:
    model = classifier(name, tmp_path)
    encoder: Any = families.of(model.config).encoder(model)
    norm = {"ast": "layernorm", "whisper": "layer_norm", "wav2vec2-stable": "encoder.layer_norm"}.get(name)
    with torch.no_grad():
        hidden = encoder(**inputs(model), output_hidden_states=True).hidden_states[2]
        expected = hidden if norm is None else encoder.get_submodule(norm)(hidden)
        families.of(model.config).truncate(encoder, 2)
        found = encoder(**inputs(model)).last_hidden_state
    torch.testing.assert_close(found, expected)


def test_the_first_convolutions_give_what_they_give_in_the_whole(tmp_path: Path) -> None:
    model = classifier(speech_embedding.NAME, tmp_path)
    family = families.of(model.config)
    seen: list[torch.Tensor] = []
    model.encoder.convolutions[3].register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
    with torch.no_grad():
        model(**inputs(model))
        family.truncate(model.encoder, 3)  # the third is followed by a pool
        frames, _ = family.frames(model.encoder, inputs(model))
    assert family.width(model.encoder) == 24
    torch.testing.assert_close(frames, seen[0].mean(dim=3).transpose(1, 2))


def test_a_crnn_without_its_last_block_has_no_recurrence_left(tmp_path: Path) -> None:
    model = classifier(log_mel.CRNN, tmp_path)
    family = families.of(model.config)
    family.truncate(model, 2)
    frames, _ = family.frames(model, inputs(model))
    assert frames.shape[2] == family.width(model) == 64


@pytest.mark.parametrize("count", [0, 4])
def test_no_more_layers_are_kept_than_there_are(count: int, tmp_path: Path) -> None:
    model = classifier("wav2vec2", tmp_path)
    family = families.of(model.config)
    with pytest.raises(BackboneError, match=f"model.truncate: {count}: this backbone has 3 layers"):
        family.truncate(family.encoder(model), count)


@pytest.mark.parametrize("name", [*TRANSFORMERS, *OURS])
def test_the_stack_holds_every_parameter_once(name: str, tmp_path: Path) -> None:
    model = classifier(name, tmp_path)
    groups = families.stack(model)
    ids = [id(parameter) for group in groups for parameter in group]
    assert len(ids) == len(set(ids))
    assert set(ids) == {id(parameter) for parameter in model.parameters()}
    assert len(groups) == len(families.of(model.config).layers(families.of(model.config).encoder(model))) + 2
    assert id(backbones.head(model).weight) in {id(parameter) for parameter in groups[-1]}
    assert all(groups[1:])


def test_the_twin_from_scratch_has_its_batch_norms_with_their_layers() -> None:
    model = backbones.resolve(speech_embedding.NAME).from_scratch(LABELS, seed=0)
    assert [len(group) for group in families.stack(model)] == [0, *[4] * 19, 1, 2]


@pytest.mark.parametrize(
    ("name", "front"),
    [
        ("ast", {"embeddings"}),
        ("wav2vec2", {"feature_extractor", "feature_projection", "encoder.pos_conv_embed", "encoder.layer_norm"}),
        ("wav2vec2-stable", {"feature_extractor", "feature_projection", "encoder.pos_conv_embed"}),
        ("hubert", {"feature_extractor", "feature_projection", "encoder.pos_conv_embed", "encoder.layer_norm"}),
        ("wavlm", {"feature_extractor", "feature_projection", "encoder.pos_conv_embed", "encoder.layer_norm"}),
        ("whisper", {"conv1", "conv2", "embed_positions"}),
        (speech_embedding.NAME, set()),
        (log_mel.CNN, set()),
    ],
)
def test_a_frozen_front_is_all_that_a_training_step_leaves_as_it_was(
    name: str, front: set[str], tmp_path: Path
) -> None:
    model = classifier(name, tmp_path, layers=2).train()
    family = families.of(model.config)
    encoder = family.encoder(model)
    model.config.layerdrop = 0.0
    model.config.apply_spec_augment = False
    for module in family.front(encoder):
        module.requires_grad_(False)
    before = {key: value.clone() for key, value in encoder.named_parameters()}
    optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=1.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        (model(**inputs(model)).logits ** 2).sum().backward()
    optimizer.step()
    unchanged = {key for key, value in encoder.named_parameters() if torch.equal(value, before[key])}
    # attention does not see a constant added to all its keys; the mask's vector is for masks; WavLM's constant moves
    # by less than a float holds
    idle = {key for key in before if key.endswith(("k_proj.bias", "masked_spec_embed", "gru_rel_pos_const"))}
    assert unchanged - idle == {key for key in before if any(key.startswith(f"{part}.") for part in front)} - idle


@pytest.mark.parametrize("name", ["ast", "wav2vec2", "hubert", "wavlm", "whisper"])
def test_an_encoder_is_loaded_with_the_weights_of_its_checkpoint(name: str, tmp_path: Path) -> None:
    backbone = backbones.resolve(str(tiny_checkpoint(name, tmp_path)))
    family = families.of(backbone.config)
    whole = family.encoder(backbone.pretrained(LABELS, seed=0)).state_dict()
    with quiet():
        loaded = family.load(backbone.source, backbone.config, backbone.revision).state_dict()
        random = family.empty(backbone.config).state_dict()
    assert whole.keys() == loaded.keys() == random.keys()
    assert all(torch.equal(whole[key], loaded[key]) for key in whole)
    assert not all(torch.equal(whole[key], random[key]) for key in whole)


def test_the_embedded_encoder_is_loaded_by_its_name() -> None:
    backbone = backbones.resolve(speech_embedding.NAME)
    family = families.of(backbone.config)
    loaded = family.load(backbone.source, backbone.config, backbone.revision).state_dict()
    expected = backbone.pretrained(LABELS, seed=0).encoder.state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[key], expected[key]) for key in expected)


@pytest.mark.parametrize("name", ["ast", "wav2vec2", "hubert", "wavlm", "whisper"])
def test_low_rank_updates_reach_the_loss(name: str, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    model = classifier(name, tmp_path)
    family = families.of(model.config)
    encoder = family.encoder(model)
    peft.inject_adapter_in_model(peft.LoraConfig(r=2, target_modules=list(family.lora_targets)), encoder)
    encoder.config.layerdrop = 0.0  # or a layer that is left out now and then learns nothing
    frames, _ = family.frames(encoder.train(), inputs(model))
    (frames**2).sum().backward()
    updates = [p for key, p in encoder.named_parameters() if "lora_B" in key]
    assert len(updates) == 6
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in updates)


def test_an_unknown_family_is_taken_apart_by_its_shape() -> None:
    from transformers import Data2VecAudioConfig, Data2VecAudioForSequenceClassification

    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16}
    narrow = {"conv_dim": (8, 8), "conv_kernel": (10, 8), "conv_stride": (20, 16), "num_feat_extract_layers": 2}
    positions = {"num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 3, "num_conv_pos_embedding_groups": 2}
    model = Data2VecAudioForSequenceClassification(Data2VecAudioConfig(**sizes, **narrow, **positions))
    family = families.of(model.config)
    assert type(family) is families.Family
    assert len(family.layers(family.encoder(model))) == 3
    assert len(families.stack(model)) == 5
    assert sum(len(group) for group in families.stack(model)) == len(list(model.parameters()))


def test_a_model_without_layers_cannot_be_taken_apart() -> None:
    with pytest.raises(BackboneError, match="Linear has no list of layers"):
        families.Family().layers(nn.Linear(2, 2))


def test_frames_of_clap_follow_the_moments_of_the_clip(tmp_path: Path) -> None:
    backbone = backbones.resolve(str(tiny_checkpoint("clap", tmp_path, layers=2)))
    family = families.of(backbone.config)
    with quiet():
        encoder = family.load(backbone.source, backbone.config, backbone.revision).eval()
    spectrogram = torch.randn(2, 4, 101, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        frames, _ = family.frames(encoder, {"input_features": spectrogram})
        own = encoder(spectrogram, is_longer=torch.zeros(2, 1, dtype=torch.bool))
    assert frames.shape == (2, 16, family.width(encoder))
    torch.testing.assert_close(frames.transpose(1, 2), own.last_hidden_state.mean(dim=2))
    torch.testing.assert_close(family.pooled(encoder, {"input_features": spectrogram}), own.pooler_output)
    family.truncate(encoder, 1)
    with torch.no_grad():
        frames, _ = family.frames(encoder, {"input_features": spectrogram})
    assert frames.shape == (2, 32, 8)
    assert family.width(encoder) == 8
    assert sum(len(group) for group in families.stack(encoder)) == len(list(encoder.parameters()))


def test_clap_is_trained_through_a_model_of_our_own_only(tmp_path: Path) -> None:
    """Long clips too: its extractor would draw a part of them, and another one each time."""
    source = str(tiny_checkpoint("clap", tmp_path / "clap", layers=2))
    clips = write_clips(tmp_path / "data", {"down": 6, "up": 6}, seconds=1.3)
    choices = params(backbone=source, model={"pool": "mean"}, finetune={"epochs": 0})
    made = finetune.train_candidate(clips, tmp_path / "data", choices, tmp_path / "cache", tmp_path / "made")
    predictor = Predictor.load(made.path)
    waves = [predictor.preprocessing.read(tmp_path / "data" / path) for path in clips["path"]]
    alone = np.concatenate([predictor.predict([wave]) for wave in waves])
    np.testing.assert_allclose(predictor.predict(waves), alone, atol=1e-5)
    assert np.ptp(alone[:, 0]) > 1e-3, "all clips sound alike: this test would see nothing"
    with pytest.raises(BackboneError, match=r"has no classifier of its own: set model\.pool"):
        backbones.resolve(source).pretrained(LABELS, seed=0)
