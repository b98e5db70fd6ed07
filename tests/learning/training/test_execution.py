import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForAudioClassification

from tenuto.learning import backbones
from tenuto.learning.training import execution
from tests.chirps import tiny_checkpoint


def test_deterministic_algorithms_are_switched_on_and_off_again() -> None:
    memory: Any = torch.utils.deterministic
    with execution.deterministic(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert not memory.fill_uninitialized_memory
    assert not torch.are_deterministic_algorithms_enabled()
    assert memory.fill_uninitialized_memory
    with execution.deterministic(False):
        assert not torch.are_deterministic_algorithms_enabled()


def test_gradient_checkpointing_gives_the_same_gradients(tmp_path: Path) -> None:
    model = AutoModelForAudioClassification.from_pretrained(tiny_checkpoint("wav2vec2", tmp_path, layers=3)).train()
    model.config.layerdrop, model.config.apply_spec_augment = 0.0, False
    waves = torch.randn(2, 4000, generator=torch.Generator().manual_seed(0))
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    model.wav2vec2.encoder.layers[0].feed_forward.register_forward_pre_hook(count)

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        torch.manual_seed(1)
        model(waves).logits.square().sum().backward()
        return [p.grad for p in model.parameters() if p.grad is not None]

    plain = gradients()
    assert calls == 1
    with execution.checkpointing(model, True):
        saved = gradients()
    assert calls == 3, "the layer was not computed again"
    gradients()
    assert calls == 4, "still on after training"
    assert len(plain) == len(saved) > 0
    for one, other in zip(plain, saved, strict=True):
        assert torch.equal(one, other)


def test_small_networks_cannot_checkpoint() -> None:
    model = backbones.resolve("speech-embedding").from_scratch(("down", "up"), seed=0)
    assert execution.checkpointed(model) is None


def test_without_a_compiler_the_model_runs_as_it_is_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from torch._dynamo.exc import TorchDynamoException

    def broken(model: nn.Module) -> Any:
        def forward(*_: Any, **__: Any) -> Any:
            raise TorchDynamoException("InvalidCxxCompiler: No working C++ compiler found\n\nSet TORCHDYNAMO_VERBOSE=1")

        return forward

    monkeypatch.setattr(torch, "compile", broken)
    model = nn.Linear(2, 2)
    compiled = execution.Compiled(model)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert torch.equal(compiled(torch.ones(1, 2)), model(torch.ones(1, 2)))
    assert caplog.messages == [
        "finetune.compile: torch.compile does not work here, going on without it. "
        "InvalidCxxCompiler: No working C++ compiler found"
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_missing_compiler_is_what_torch_says_it_is(caplog: pytest.LogCaptureFixture) -> None:
    import torch._inductor.config as inductor

    model = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid())
    with inductor.patch({"cpp.cxx": (None, "/no/such/compiler"), "force_disable_caches": True}):
        found = execution.Compiled(model)(torch.ones(1, 2))
    assert torch.equal(found, model(torch.ones(1, 2)))
    said = [record.message for record in caplog.records if record.name == execution.logger.name]
    assert len(said) == 1
    assert "No working C++ compiler found" in said[0]
