"""Untrained models of every family, ready to be exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from tenuto.labels import LabelType
from tenuto.learning import backbones
from tenuto.learning.predictor import Predictor
from tenuto.learning.preprocessing import Preprocessing
from tenuto.serving.hearing.bundle import Bundle
from tenuto.settings import ModelSettings
from tests.chirps import SLOPES, tiny_checkpoint

OURS = ("speech-embedding", *backbones.SCRATCH)


def predictor(family: str, folder: Path, *, kind: LabelType = "one", **tailoring: Any) -> Predictor:
    """A predictor for the chirps, tailored by the keys of `model:`; every weight is random, none of them 0."""
    source = family if family in OURS else str(tiny_checkpoint(family, folder, layers=2))
    backbone, settings = backbones.resolve(source), ModelSettings.model_validate(tailoring)
    preprocessing = Preprocessing.of(
        backbone.feature_extractor, backbone.config, 10.0, window_seconds=settings.window_seconds
    )
    make = backbone.pretrained if backbone.is_pretrained else backbone.from_scratch
    model = make(tuple(SLOPES), seed=0, kind=kind, tailoring=settings)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():  # what starts at 0, as adapters do, would hide mistakes
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return Predictor(model, preprocessing)


def draft(of: Predictor, dims: int) -> Bundle:
    """A bundle of the predictor, without artefacts."""
    return Bundle(
        checkpoint="untrained",
        labels=of.labels,
        kind=of.kind,
        framing=of.preprocessing.framing,
        calibration=of.calibration,
        dims=dims,
        artefacts=(),
        best="fp32",
    )


def noises(sample_rate_hz: int, seconds: tuple[float, ...]) -> list[np.ndarray]:
    """White noise, each louder than the one before."""
    rng = np.random.default_rng(0)
    return [
        (0.05 * (place + 1) * rng.uniform(-1, 1, max(round(length * sample_rate_hz), 1))).astype(np.float32)
        for place, length in enumerate(seconds)
    ]
