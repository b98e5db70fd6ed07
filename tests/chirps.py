"""A small labelled set of chirps, and tiny transformers checkpoints with random weights, to train on in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tenuto.settings import Params
from tenuto.sound import audio

RATE_HZ = 16_000
SLOPES = {"down": -900.0, "flat": 0.0, "up": 900.0}


def chirp(label: str, rng: np.random.Generator, seconds: float = 0.5) -> np.ndarray:
    """A gliding tone with two overtones and a little noise, (n,) float32 at 16 kHz."""
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    start_hz = rng.uniform(700, 900)
    phase = 2 * np.pi * (start_hz * times + SLOPES[label] * times**2 / (2 * seconds))
    wave = sum(np.sin(k * phase) / k for k in (1, 2, 3)) * np.hanning(len(times)) * 0.2
    return (wave + 0.002 * rng.standard_normal(len(times))).astype(np.float32)


def write_clips(data: Path, per_class: dict[str, int], *, seed: int = 0, seconds: float = 0.5) -> pd.DataFrame:
    """WAV files under `data` and their clips table; of each class two in three train, the rest validate and test."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    data.mkdir(parents=True, exist_ok=True)
    for label, count in per_class.items():
        for index in range(count):
            clip_id = f"{label}{seed}{index:03d}"
            length = seconds * rng.uniform(0.8, 1.2)
            (data / f"{clip_id}.wav").write_bytes(audio.encode_wav(chirp(label, rng, length), RATE_HZ))
            split = ("train", "train", "validation", "train", "train", "test")[index % 6]
            rows.append(
                {
                    "clip_id": clip_id,
                    "path": f"{clip_id}.wav",
                    "label": label,
                    "group_site": ("east", "west")[index % 2],
                    "duration_seconds": length,
                    "sample_rate_hz": RATE_HZ,
                    "split": split,
                }
            )
    return pd.DataFrame(rows)


def params(**sections: Any) -> Params:
    """Settings that train for a second or two."""
    quick = {"epochs": 1, "batch_size": 8} | sections.pop("finetune", {})
    return Params.model_validate({"name": "chirps", "threads": 1, "finetune": quick, **sections})


def tiny_checkpoint(family: str, folder: Path, *, layers: int = 1) -> Path:
    """A checkpoint folder of a transformers family with random weights.

    "wav2vec2-stable" is a wav2vec2 with layer norms, which wants an attention mask, as the large ones do.
    """
    import torch
    from transformers import AutoModelForAudioClassification, ClapAudioModel

    config, extractor = _tiny(family, layers)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ClapAudioModel(config) if family == "clap" else AutoModelForAudioClassification.from_config(config)
        model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder


def _tiny(family: str, layers: int) -> tuple[Any, Any]:
    import transformers as t

    small = {"hidden_size": 16, "num_hidden_layers": layers, "num_attention_heads": 2, "intermediate_size": 16}
    convolutional = small | {
        "conv_dim": (8, 8),
        "conv_kernel": (10, 8),
        "conv_stride": (20, 16),
        "num_conv_pos_embeddings": 4,
        "num_conv_pos_embedding_groups": 2,
        "num_feat_extract_layers": 2,
        "classifier_proj_size": 8,
    }
    if family == "ast":
        extractor = t.ASTFeatureExtractor(max_length=96, num_mel_bins=32)
        return t.ASTConfig(max_length=96, num_mel_bins=32, patch_size=16, **small), extractor
    if family == "whisper":
        extractor = t.WhisperFeatureExtractor(feature_size=16, chunk_length=1)
        sizes = {"d_model": 16, "encoder_layers": layers, "encoder_attention_heads": 2, "encoder_ffn_dim": 16}
        return t.WhisperConfig(num_mel_bins=16, max_source_positions=50, decoder_layers=1, **sizes), extractor
    if family == "clap":
        extractor = t.ClapFeatureExtractor(
            feature_size=8, sampling_rate=RATE_HZ, hop_length=160, max_length_s=1, frequency_max=8000
        )
        stages = {"depths": [1] * layers, "num_attention_heads": [2] * layers, "num_hidden_layers": layers}
        sizes = {"spec_size": 32, "num_mel_bins": 8, "patch_embeds_hidden_size": 8, "window_size": 2}
        return t.ClapAudioConfig(hidden_size=8 * 2 ** (layers - 1), enable_fusion=True, **stages, **sizes), extractor
    if family == "wav2vec2-stable":
        norms = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
        extractor = t.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
        return t.Wav2Vec2Config(**convolutional, **norms), extractor
    configs = {"wav2vec2": t.Wav2Vec2Config, "hubert": t.HubertConfig, "wavlm": t.WavLMConfig}
    return configs[family](**convolutional), t.Wav2Vec2FeatureExtractor(do_normalize=True)
