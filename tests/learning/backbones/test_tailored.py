from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForAudioClassification

from tenuto.errors import BackboneError
from tenuto.learning import backbones
from tenuto.learning.backbones import adapters, families
from tenuto.learning.preprocessing import Preprocessing
from tenuto.settings import ModelSettings
from tests.chirps import tiny_checkpoint

LABELS = ("down", "flat", "up")
WAVES = {"input_values": 0.1 * torch.randn(2, 16_000, generator=torch.Generator().manual_seed(0))}


@pytest.fixture(scope="module")
def wav2vec2(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_checkpoint("wav2vec2", tmp_path_factory.mktemp("backbones") / "wav2vec2"))


def made(name: str = "speech-embedding", *, seed: int = 0, **model: Any) -> Any:
    return backbones.resolve(name).pretrained(LABELS, seed=seed, tailoring=ModelSettings(**model))


def heard(name: str) -> dict[str, Any]:
    """What a backbone makes of the waves."""
    backbone = backbones.resolve(name)
    return Preprocessing.of(backbone.feature_extractor, backbone.config, 10.0).features(
        list(WAVES["input_values"].numpy())
    )


def logits(model: Any, features: dict[str, torch.Tensor] = WAVES) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(**features).logits
    return found


TAILORINGS = [
    {"head": "mlp", "hidden_size": 5},
    {"head": "prototype", "pool": "statistics"},
    {"pool": "gru", "hidden_size": 4},
    {"pool": "attention", "adapter_size": 3},
]


def test_a_mean_with_a_linear_head_is_what_the_plain_model_is() -> None:
    plain, tailored = made(), made(pool="mean")
    tailored.head.load_state_dict(plain.classifier.state_dict())
    torch.testing.assert_close(logits(tailored), logits(plain))


def test_the_encoder_has_the_weights_that_were_trained(wav2vec2: str) -> None:
    plain = made(wav2vec2).wav2vec2.state_dict()
    tailored = made(wav2vec2, head="mlp").encoder.state_dict()
    assert all(torch.equal(value, tailored[name]) for name, value in plain.items())


@pytest.mark.parametrize("model", TAILORINGS)
@pytest.mark.parametrize("is_transformer", [False, True])
def test_saving_and_loading_keeps_every_bit(
    model: dict[str, Any], is_transformer: bool, wav2vec2: str, tmp_path: Path
) -> None:
    tailored = made(wav2vec2 if is_transformer else "speech-embedding", **model, truncate=1 if is_transformer else 7)
    for parameter in tailored.parameters():
        parameter.data += 0.01 * torch.randn_like(parameter)
    tailored.save_pretrained(tmp_path)
    again = AutoModelForAudioClassification.from_pretrained(tmp_path)
    assert again.state_dict().keys() == tailored.state_dict().keys()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in tailored.state_dict().items())
    torch.testing.assert_close(logits(again), logits(tailored))
    assert again.config.id2label == dict(enumerate(LABELS))


def test_a_truncated_backbone_gives_what_its_layer_gave(wav2vec2: str) -> None:
    whole, cut = made(pool="mean"), made(truncate=7)
    seen = []
    whole.encoder.convolutions[6].register_forward_hook(lambda *found: seen.append(found[2]))
    logits(whole)
    assert len(cut.encoder.convolutions) == 7
    assert cut.head.in_features == 48
    seven = []
    cut.encoder.convolutions[6].register_forward_hook(lambda *found: seven.append(found[2]))
    logits(cut)
    torch.testing.assert_close(seven[0], seen[0])


def test_an_impossible_layer_names_how_many_there_are(wav2vec2: str) -> None:
    with pytest.raises(BackboneError, match=r"model\.truncate: 21: this backbone has 20 layers"):
        made(truncate=21)


def test_low_rank_updates_of_a_cnn_are_refused() -> None:
    with pytest.raises(BackboneError, match=r"model\.lora_rank: 4: this backbone is no transformer"):
        made(lora_rank=4)


@pytest.mark.parametrize("name", ["speech-embedding", "wav2vec2", "ast", "whisper", "clap"])
def test_adapters_start_as_the_identity_and_leave_the_layers_frozen(name: str, tmp_path: Path) -> None:
    source = name if name == "speech-embedding" else str(tiny_checkpoint(name, tmp_path / name))
    features = heard(source)
    plain, adapted = made(source, pool="mean"), made(source, pool="mean", adapter_size=2)
    torch.testing.assert_close(adapted.frozen(features), plain.frozen(features))
    adapters.spare(adapted, ModelSettings(adapter_size=2), 0)
    trained = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert trained
    assert all("adapter" in name or "norm" in name.lower() or not name.startswith("encoder.") for name in trained)
    adapted.train()(**features).logits.square().sum().backward()
    assert adapted.family.layers(adapted.encoder)[0].adapter.up.weight.grad.abs().sum() > 0


def test_an_adapter_is_a_bottleneck_with_a_residual() -> None:
    adapter = adapters.Adapter(2, 1, axis=-1)
    with torch.no_grad():
        adapter.down.weight.copy_(torch.tensor([[1.0, 1.0]]))
        adapter.up.weight.copy_(torch.tensor([[2.0], [0.0]]))
    units = torch.nn.functional.gelu(torch.tensor(3.0))
    torch.testing.assert_close(
        adapter(torch.tensor([[1.0, 2.0]])), torch.stack([1 + 2 * units, torch.tensor(2.0)])[None]
    )


@pytest.mark.parametrize("family", ["wav2vec2", "wavlm", "ast", "whisper"])
def test_low_rank_updates_train_little_and_merge_into_plain_weights(family: str, tmp_path: Path) -> None:
    source = str(tiny_checkpoint(family, tmp_path / family))
    features = heard(source)
    model = made(source, lora_rank=2)
    names = list(model.state_dict())
    before = logits(model, features)
    updates = adapters.spare(model, ModelSettings(lora_rank=2), 0)
    assert updates is not None
    torch.testing.assert_close(logits(model, features), before)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert all("lora_" in name or not name.startswith("encoder.") for name in trained)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    changed = logits(model, features)
    assert (changed - before).abs().max() > 1e-4
    updates.merge()
    assert list(model.state_dict()) == names
    torch.testing.assert_close(logits(model, features), changed)


def test_windows_of_a_clip_are_pooled_together(wav2vec2: str) -> None:
    for pool in ("mean", "max", "own"):
        model = made(wav2vec2, pool=pool, head="mlp", window_seconds=0.5)
        halves = WAVES["input_values"].unflatten(1, (2, -1))
        frames, _ = families.of(model.config).frames(model.encoder, {"input_values": halves.flatten(0, 1)})
        together = frames.reshape(2, -1, frames.shape[-1])
        pooled = together.amax(dim=1) if pool == "max" else together.mean(dim=1)
        torch.testing.assert_close(model.frozen({"input_values": halves}), pooled)
        torch.testing.assert_close(logits(model, {"input_values": halves}), model.head(pooled))


@pytest.mark.parametrize("pool", ["own", "max"])
def test_many_windows_are_heard_a_few_at_a_time(pool: str) -> None:
    model = made(pool=pool, head="mlp", window_seconds=1.28)
    windows = {"input_values": 0.1 * torch.randn(1, 35, 20_480, generator=torch.Generator().manual_seed(0))}
    with torch.enable_grad():
        at_once = model(**windows).logits.detach()
    sizes: list[int] = []
    model.encoder.convolutions[0].register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    torch.testing.assert_close(logits(model, windows), at_once)
    assert sizes == [32, 3]


def test_a_twin_from_scratch_is_tailored_alike_without_what_spares() -> None:
    twin = backbones.resolve("speech-embedding").from_scratch(
        LABELS, seed=0, tailoring=ModelSettings(truncate=7, head="mlp", adapter_size=4)
    )
    assert len(twin.encoder.convolutions) == 7
    assert not any("adapter" in name for name in twin.state_dict())
    assert twin.encoder.config.batch_norm


@pytest.mark.parametrize("model", TAILORINGS)
def test_every_parameter_lies_in_the_stack_once(model: dict[str, Any]) -> None:
    tailored = made(**model)
    found = [parameter for group in families.stack(tailored) for parameter in group]
    assert len(found) == len({id(p) for p in found}) == len(list(tailored.parameters()))


def test_a_tailored_checkpoint_is_not_tailored_again(tmp_path: Path) -> None:
    made(head="mlp").save_pretrained(tmp_path)
    backbones.resolve("speech-embedding").feature_extractor.save_pretrained(tmp_path)
    with pytest.raises(BackboneError, match="was tailored already"):
        backbones.resolve(str(tmp_path))


@pytest.mark.parametrize(("network", "truncate"), [("log-mel-cnn", None), ("log-mel-crnn", None), ("log-mel-crnn", 2)])
def test_the_own_pool_of_a_log_mel_network_has_the_width_that_its_head_wants(
    network: str, truncate: int | None, tmp_path: Path
) -> None:
    backbone = backbones.resolve(network)
    backbone.from_scratch(LABELS, seed=0).save_pretrained(tmp_path)
    backbone.feature_extractor.save_pretrained(tmp_path)
    assert logits(made(str(tmp_path), head="mlp", truncate=truncate)).shape == (2, 3)
