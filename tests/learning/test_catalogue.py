from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest

from tenuto.learning import catalogue
from tenuto.learning.catalogue import ENTRIES, Entry

WHISPER_TINY = {
    "d_model": 384,
    "encoder_layers": 4,
    "encoder_attention_heads": 6,
    "encoder_ffn_dim": 1536,
    "decoder_layers": 4,
    "decoder_attention_heads": 6,
    "decoder_ffn_dim": 1536,
}
LARGER_CLAP = {"depths": [2, 2, 12, 2], "hidden_size": 1024, "patch_embeds_hidden_size": 128}


def encoders() -> dict[str, Any]:
    """The encoder of every entry that transformers or Tenuto can build, on torch's meta device, without weights."""
    import torch
    import transformers as t

    from tenuto.learning.backbones import log_mel, speech_embedding

    def without_head(name: str) -> Any:
        model = log_mel.LogMelForAudioClassification(log_mel.config(name))
        del model.classifier
        return model

    distilled = t.HubertConfig(num_hidden_layers=2, feat_proj_layer_norm=False)
    with torch.device("meta"):
        return {
            "speech-embedding": speech_embedding.SpeechEmbeddingEncoder(speech_embedding.SpeechEmbeddingConfig()),
            "ntu-spml/distilhubert": t.HubertModel(distilled),
            "facebook/wav2vec2-base": t.Wav2Vec2Model(t.Wav2Vec2Config()),
            "facebook/hubert-base-ls960": t.HubertModel(t.HubertConfig()),
            "microsoft/wavlm-base-plus": t.WavLMModel(t.WavLMConfig()),
            "openai/whisper-tiny": t.WhisperModel(t.WhisperConfig(**WHISPER_TINY)).encoder,
            "MIT/ast-finetuned-audioset-10-10-0.4593": t.ASTModel(t.ASTConfig()),
            "laion/clap-htsat-unfused": t.ClapAudioModel(t.ClapAudioConfig()),
            "laion/larger_clap_music": t.ClapAudioModel(t.ClapAudioConfig(**LARGER_CLAP)),
        } | {name: without_head(name) for name in (log_mel.CNN, log_mel.CRNN)}


@pytest.mark.slow
def test_parameters_and_dimensions_are_those_of_the_built_encoders() -> None:
    from tenuto.learning.backbones import families

    built = encoders()
    assert set(built) == {entry.id for entry in ENTRIES if entry.origin != "own code"}
    for name, encoder in built.items():
        entry = catalogue.entry(name)
        assert entry is not None
        assert sum(parameter.numel() for parameter in encoder.parameters()) == entry.parameters, name
        if entry.origin == "hub":
            assert encoder.config.hidden_size == entry.dimensions, name
            assert len(families.of(encoder.config).layers(encoder)) == entry.layers, name


def test_every_entry_is_pinned_or_cannot_move() -> None:
    for entry in ENTRIES:
        if entry.origin == "hub":
            assert entry.revision and re.fullmatch(r"[0-9a-f]{40}", entry.revision), entry.id
        else:
            assert entry.revision is None, entry.id
    assert len({entry.id for entry in ENTRIES}) == len(ENTRIES)


def test_only_networks_from_scratch_were_trained_on_nothing() -> None:
    for entry in ENTRIES:
        assert bool(entry.domains) == entry.is_pretrained, entry.id
        assert not entry.is_padded or entry.window_seconds, entry.id


def test_the_licence_of_every_entry_is_understood_and_one_forbids_commercial_use() -> None:
    answers = {entry.id: entry.allows_commercial_use for entry in ENTRIES}
    assert {name for name, allowed in answers.items() if allowed is False} == {"m-a-p/MERT-v1-95M"}
    assert None not in answers.values()


def test_size_is_four_bytes_a_weight() -> None:
    entry = catalogue.entry("ntu-spml/distilhubert")
    assert isinstance(entry, Entry)
    assert entry.size_mb == pytest.approx(93.967872)  # its file on the hub has 94 MB


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("distilhubert", "ntu-spml/distilhubert"),
        ("Facebook/Wav2Vec2-Base", "facebook/wav2vec2-base"),
        ("speech_embedding", "speech-embedding"),
        ("microsoft/wavlm-base-pls", "microsoft/wavlm-base-plus"),
        ("whisper-tiny", "openai/whisper-tiny"),
        ("whisper", "openai/whisper-tiny"),
        ("clap", None),
        ("company/secret-model", None),
    ],
)
def test_a_typing_error_is_recognised(written: str, meant: str | None) -> None:
    assert catalogue.entry(written) is None
    assert catalogue.close_to(written) == meant


def test_the_catalogue_imports_neither_torch_nor_transformers() -> None:
    code = "import sys, tenuto.learning.catalogue; print(*({'torch', 'transformers', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split() == []
