import json
from pathlib import Path

import httpx2
import pytest
import torch
from torch import nn

from tenuto.errors import BackboneError
from tenuto.learning import backbones
from tests.chirps import tiny_checkpoint

LABELS = ("down", "flat", "up")


def test_the_embedded_one_says_where_it_comes_from() -> None:
    backbone = backbones.resolve("speech-embedding")
    assert backbone.is_embedded
    assert backbone.licence == "Apache-2.0"
    assert len(backbone.revision) == 64


@pytest.mark.parametrize("family", ["ast", "wav2vec2", "hubert", "wavlm", "whisper"])
def test_the_head_of_every_family_sees_what_pooled_gives(family: str, tmp_path: Path) -> None:
    backbone = backbones.resolve(str(tiny_checkpoint(family, tmp_path / family)))
    model = backbone.pretrained(LABELS, seed=0)
    batch = backbone.feature_extractor([torch.randn(16_000).numpy()], sampling_rate=16_000, return_tensors="pt")
    features = {model.main_input_name: batch[model.main_input_name]}
    with torch.no_grad():
        expected = model(**features).logits
        actual = backbones.head(model)(backbones.pooled(model, features))
    torch.testing.assert_close(actual, expected)
    assert expected.shape == (1, 3)
    assert model.config.id2label == dict(enumerate(LABELS))


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_generator_alone() -> None:
    backbone = backbones.resolve("speech-embedding")
    state = torch.random.get_rng_state()
    first, second, other = (
        backbone.from_scratch(LABELS, seed=seed).encoder.convolutions[3].weight for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_new_projector_lets_everything_through(tmp_path: Path) -> None:
    folder = tiny_checkpoint("wav2vec2", tmp_path / "whole")
    _without_head(folder)
    model = backbones.resolve(str(folder)).pretrained(LABELS, seed=0)
    assert torch.equal(model.projector.weight, torch.eye(16))
    assert model.classifier.weight.shape == (3, 16)
    again = type(model)(model.config)
    again.load_state_dict(model.state_dict())


def test_a_folder_is_known_by_its_weights(tmp_path: Path) -> None:
    first = backbones.resolve("one", root=tiny_checkpoint("wav2vec2", tmp_path / "one").parent)
    same = backbones.resolve(str(tiny_checkpoint("wav2vec2", tmp_path / "two")))
    assert first.revision == same.revision
    weights = tmp_path / "two" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\1\2\3")
    assert backbones.resolve(str(tmp_path / "two")).revision != first.revision


@pytest.mark.parametrize(
    ("card", "licence"), [("---\nlicense: mit\n---\n# Model", "mit"), ("# No front matter", "unknown")]
)
def test_the_licence_is_read_from_the_model_card(card: str, licence: str, tmp_path: Path) -> None:
    folder = tiny_checkpoint("wav2vec2", tmp_path / "model")
    (folder / "README.md").write_text(card)
    assert backbones.resolve(str(folder)).licence == licence


def test_an_unknown_name_says_what_was_wanted() -> None:
    with pytest.raises(BackboneError, match="'no/such-model' cannot be loaded: wanted 'speech-embedding', a folder"):
        backbones.resolve("no/such-model")


def test_a_folder_without_a_model_says_what_was_wanted(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"config.json, preprocessor_config.json, weights"):
        backbones.resolve(str(tmp_path))


def test_a_model_that_classifies_no_audio_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, Wav2Vec2FeatureExtractor

    BertConfig(hidden_size=16, num_hidden_layers=1).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(BackboneError, match="no audio classifier that loads"):
        backbones.resolve(str(tmp_path)).pretrained(LABELS, seed=0)


def test_a_model_without_a_linear_end_is_refused() -> None:
    model = backbones.resolve("speech-embedding").from_scratch(LABELS, seed=0)
    model.classifier = nn.Sequential(nn.Linear(96, 8), nn.ReLU())
    with pytest.raises(BackboneError, match="does not end in a linear layer with 3 outputs"):
        backbones.head(model)


def _without_head(folder: Path) -> None:
    """Leave only the encoder, as in checkpoints that come from self-supervised pre-training."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    weights = {
        name: value for name, value in load_file(path).items() if not name.startswith(("projector", "classifier"))
    }
    save_file(weights, path, metadata={"format": "pt"})


def test_code_that_a_checkpoint_brings_along_is_not_run_and_nobody_is_asked(tmp_path: Path) -> None:
    auto_map = {"AutoConfig": "configuration_ced.CedConfig"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "ced", "auto_map": auto_map}))
    (tmp_path / "configuration_ced.py").write_text("raise SystemExit('it was run')")
    with pytest.raises(BackboneError, match=r"cannot be loaded: .* execute"):
        backbones.resolve(str(tmp_path))


def test_a_hub_that_cannot_be_reached_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def cut_off(url: str, **_: object) -> None:
        asked.append(url)
        raise httpx2.ConnectError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", cut_off)
    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", pytest.fail)
    with pytest.raises(BackboneError, match="the hub cannot be reached: Name or service not known"):
        backbones.resolve("no/where")
    assert len(asked) == 1 and "no/where" in asked[0]
