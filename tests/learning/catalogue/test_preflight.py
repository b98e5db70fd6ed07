from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tenuto.deciding.policy import Policy
from tenuto.errors import BackboneError, SettingsError
from tenuto.learning.catalogue import preflight
from tenuto.settings import Params

ANY, COMMERCIAL = Policy(), Policy(licences="commercial")


def params(backbone: str = "speech-embedding", **sections: Any) -> Params:
    return Params.model_validate({"name": "digits", "backbone": backbone, **sections})


def folder(path: Path, config: dict[str, Any], card: str = "") -> Path:
    """A checkpoint folder with a configuration and a file that stands for weights."""
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config))
    (path / "model.safetensors").touch()
    if card:
        (path / "README.md").write_text(f"---\nlicense: {card}\n---\n")
    return path


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty local cache of the hub."""
    cache = tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return cache


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            params("facebook/wav2vec2-base", model={"truncate": 40}),
            r"params.yaml: model.truncate = 40 cannot be used: facebook/wav2vec2-base has 12 layers; wanted 1 to 12",
        ),
        (
            params("facebook/wav2vec2-base", finetune={"unfreeze": 40}),
            r"finetune.unfreeze = 40 cannot be used: facebook/wav2vec2-base has 12 layers; wanted 1 to 12, all, head",
        ),
        (
            params("facebook/wav2vec2-base", model={"truncate": 4}, finetune={"unfreeze": 5}),
            r"finetune.unfreeze = 5 .* has 4 layers after model.truncate: 4; wanted 1 to 4",
        ),
        (params(model={"truncate": 21}), "speech-embedding has 20 layers"),
        (params(model={"lora_rank": 8}), "model.lora_rank = 8 .* no attention .*; wanted 0, or model.adapter_size"),
        (params("log-mel-cnn"), "no pre-trained weights; wanted another, and finetune.baseline: log-mel-cnn"),
        (params("laion/clap-htsat-unfused"), "backbone = 'laion/clap-htsat-unfused' and model.pool = 'own' do not go"),
        (params("mispeech/ced-tiny"), "backbone = 'mispeech/ced-tiny' cannot be used: it needs Python code from the"),
        (
            params("openai/whisper-tiny", model={"window_seconds": 40}),
            "model.window_seconds = 40 cannot be used with openai/whisper-tiny; wanted 0.5 to 30",
        ),
        (
            params(finetune={"gradient_checkpointing": True}),
            "finetune.gradient_checkpointing = true cannot be used: speech-embedding has no attention",
        ),
        (params(model={"window_seconds": 1}), "cannot be used with speech-embedding; wanted 1.28 or more"),
    ],
)
def test_what_a_backbone_cannot_do_names_key_value_and_what_is_allowed(
    asked: Params, message: str, hub: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=message):
        preflight.check(asked, ANY, tmp_path)


@pytest.mark.parametrize(
    "asked",
    [
        params("facebook/wav2vec2-base", model={"truncate": 12}, finetune={"unfreeze": 12}),
        params("openai/whisper-tiny", model={"truncate": 4, "lora_rank": 8, "window_seconds": 30}),
        params(model={"truncate": 20, "adapter_size": 8}),
        params("laion/clap-htsat-unfused", model={"pool": "mean"}),
        params("somebody/some-model", model={"truncate": 400}),
    ],
)
def test_what_it_can_do_or_nobody_knows_passes(asked: Params, hub: Path, tmp_path: Path) -> None:
    assert preflight.check(asked, ANY, tmp_path).name == asked.backbone


def test_the_line_says_that_the_command_line_asked_for_it(hub: Path, tmp_path: Path) -> None:
    asked = params("openai/whisper-tiny", model={"truncate": 9})
    with pytest.raises(SettingsError, match=r"^--set model.truncate=9: model.truncate = 9 .* 4 layers; .*, or null"):
        preflight.check(asked, ANY, tmp_path, ["seed=1", "model.truncate=9"])


@pytest.mark.parametrize(
    ("config", "layers"),
    [
        ({"model_type": "wav2vec2", "num_hidden_layers": 3}, 3),
        ({"model_type": "whisper", "encoder_layers": 5, "num_hidden_layers": 9}, 5),
        ({"model_type": "clap", "audio_config": {"depths": [2, 2, 12, 2]}}, 4),
        ({"model_type": "tenuto-speech-embedding"}, 20),
        ({"model_type": "tenuto-log-mel", "channels": [8, 16]}, 2),
        ({"model_type": "x", "backbone_config": {"model_type": "hubert", "num_hidden_layers": 12}}, 12),
        ({"model_type": "x", "truncate": 7, "backbone_config": {"model_type": "hubert", "num_hidden_layers": 12}}, 7),
        ({"model_type": "nobody-knows"}, None),
    ],
)
def test_a_folders_layers_are_read_from_its_configuration(
    config: dict[str, Any], layers: int | None, tmp_path: Path
) -> None:
    folder(tmp_path / "models" / "mine", config)
    assert preflight.backbone("models/mine", tmp_path).layers == layers


def test_a_tailored_checkpoint_is_used_as_it_is(tmp_path: Path) -> None:
    inner = {"model_type": "clap_audio_model", "depths": [2, 2]}
    folder(tmp_path / "mine", {"model_type": "tenuto-tailored", "backbone_config": inner})
    assert preflight.check(params("mine"), ANY, tmp_path).layers == 2
    with pytest.raises(SettingsError, match="backbone = 'mine' and `model` do not go together: it was tailored"):
        preflight.check(params("mine", model={"pool": "mean"}), ANY, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["ast", "wav2vec2", "hubert", "wavlm", "whisper"])
def test_a_saved_checkpoint_says_how_many_layers_it_has(family: str, tmp_path: Path) -> None:
    from tests import chirps

    assert preflight.backbone(str(chirps.tiny_checkpoint(family, tmp_path / family)), tmp_path).layers == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("models/absent/", "there is no folder .*absent, .*; wanted speech-embedding, a checkpoint folder or a hub id"),
        ("./mine", "there is no folder .*mine"),
        ("empty", "has no config.json; wanted a folder that transformers' save_pretrained wrote"),
        ("light", "has no weights"),
        ("broken", "cannot be read as JSON"),
        ("speech_embedding", "did you mean 'speech-embedding'"),
        ("distilhubert", "did you mean 'ntu-spml/distilhubert'"),
        ("microsoft/wavlm-base-pls", "did you mean 'microsoft/wavlm-base-plus'"),
        ("facebook/Wav2Vec2-base", "did you mean 'facebook/wav2vec2-base'"),
    ],
)
def test_a_backbone_that_cannot_be_is_refused(name: str, message: str, hub: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    folder(tmp_path / "light", {}).joinpath("model.safetensors").unlink()
    folder(tmp_path / "broken", {}).joinpath("config.json").write_text("{")
    with pytest.raises(BackboneError, match=f"^params.yaml: .*{message}"):
        preflight.check(params(name), ANY, tmp_path)


@pytest.mark.parametrize(
    "name", ["facebook/wav2vec2-base-960h", "laion/clap-htsat-fused", "microsoft/wavlm-base", "openai/whisper-tiny.en"]
)
def test_a_hub_id_that_only_resembles_a_catalogued_one_passes(name: str, hub: Path, tmp_path: Path) -> None:
    assert preflight.backbone(name, tmp_path).entry is None


def test_without_a_network_an_id_that_is_not_in_the_cache_is_refused(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BackboneError, match="not in the hub's local cache, with HF_HUB_OFFLINE set"):
        preflight.backbone("somebody/some-model", tmp_path)


def test_the_hubs_local_cache_is_read_as_the_hub_writes_it(hub: Path, tmp_path: Path) -> None:
    """Layout of huggingface_hub: refs/main names the commit, whose files are in snapshots/COMMIT."""
    stored = hub / "models--somebody--some-model"
    folder(stored / "snapshots" / "c0ffee", {"model_type": "hubert", "num_hidden_layers": 6}, "cc-by-nc-4.0")
    (stored / "refs").mkdir()
    (stored / "refs" / "main").write_text("c0ffee")
    known = preflight.backbone("somebody/some-model", tmp_path)
    assert (known.layers, known.licence) == (6, "cc-by-nc-4.0")
    assert preflight.backbone("somebody/some-model", tmp_path, "c0ffee").layers == 6
    assert preflight.backbone("somebody/some-model", tmp_path, "v2").layers is None


@pytest.mark.parametrize(
    ("card", "why"), [("cc-by-nc-4.0", "cc-by-nc-4.0 forbids commercial use"), ("", "is unknown"), ("other", "'other'")]
)
def test_the_policy_refuses_a_licence_that_is_not_known_to_allow_commercial_use(
    card: str, why: str, tmp_path: Path
) -> None:
    folder(tmp_path / "mine", {"model_type": "hubert", "num_hidden_layers": 6}, card)
    message = f"^promotion.yaml: licences = 'commercial' refuses backbone 'mine' .*{why}.*; wanted one that does .* any"
    with pytest.raises(SettingsError, match=message):
        preflight.check(params("mine"), COMMERCIAL, tmp_path)
    known = preflight.check(params("mine"), ANY, tmp_path)
    assert why in str(preflight.remark(known))


def test_the_policy_lets_an_allowing_licence_pass_and_nothing_is_remarked(tmp_path: Path, hub: Path) -> None:
    folder(tmp_path / "mine", {"model_type": "hubert", "num_hidden_layers": 6}, "bsd-3-clause")
    for name in ("mine", "speech-embedding", "facebook/wav2vec2-base"):
        assert preflight.remark(preflight.check(params(name), COMMERCIAL, tmp_path)) is None


def test_what_tenuto_trained_from_a_refused_backbone_is_refused_too(tmp_path: Path) -> None:
    trained = folder(tmp_path / "mine", {"model_type": "hubert", "num_hidden_layers": 6})
    (trained / "tenuto_checkpoint.json").write_text(json.dumps({"backbone_licence": "CC-BY-NC-4.0"}))
    with pytest.raises(SettingsError, match=r"CC-BY-NC-4.0 forbids"):
        preflight.check(params("mine"), COMMERCIAL, tmp_path)
