"""What a training starts from: the backbone, and the clips as it hears them, with copies of what is rare.

Whatever trains or scores on the clips of a manifest sets up here first, so that all of it sees the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from tenuto import labels as label_text
from tenuto.errors import TrainingError
from tenuto.learning import augment, backbones, bandwidth, imbalance
from tenuto.learning.backbones import Backbone, families
from tenuto.learning.batches import Material
from tenuto.learning.embedding import Encoder
from tenuto.learning.framing import rounded_up
from tenuto.learning.preprocessing import Preprocessing
from tenuto.settings import Params


@dataclass(frozen=True)
class Setup:
    """A backbone that fits the longest training clip, and the material that it trains on."""

    backbone: Backbone
    material: Material

    def pretrained(self, params: Params) -> Any:
        """The backbone with a new head for the labels, tailored as `params.model` says; nothing is trained yet."""
        return self.backbone.pretrained(
            self.material.labels, seed=params.seed, kind=params.data.labels, tailoring=params.model
        )

    def encoder(self, model: Any) -> Encoder:
        """What makes embeddings of clips with `model`, as `pretrained` gives it."""
        return Encoder(model, self.material.preprocessing, self.backbone.revision)


def set_up(clips: pd.DataFrame, data: Path, params: Params) -> Setup:
    """The backbone and the clips of the splits 'train' and 'validation', with the copies that `augment` plans.

    `clips` is the manifest with `split`; their paths are relative to `data`. Raises TrainingError when the splits are
    too small, BackboneError when the backbone cannot be loaded.
    """
    torch.set_num_threads(params.threads)
    backbone = backbones.resolve(params.backbone, params.backbone_revision, root=data.parent)
    train = clips[clips["split"] == "train"]
    heard = params.longest_heard_seconds
    longest = rounded_up(float(train["duration_seconds"].max())) if len(train) else heard
    backbone = backbone.shortened(params.model.window_seconds or min(longest, heard))
    preprocessing = Preprocessing.of(
        backbone.feature_extractor,
        backbone.config,
        heard,
        window_seconds=params.model.window_seconds,
        window_overlap=params.model.window_overlap,
    )
    labels = label_text.classes(train["label"], params.data.labels)
    validation = clips[clips["split"] == "validation"]
    if params.data.labels == "one":
        validation = validation[validation["label"].isin(labels)]
    if len(labels) < 2 or validation.empty:
        raise TrainingError(
            f"{len(train)} training clips of {len(labels)} classes and {len(validation)} validation clips of those "
            "classes: wanted at least 2 classes and 1 validation clip. Add recordings, or change `split`."
        )
    copies = augment.plan(clips, params.augment, np.random.default_rng(params.seed), params.data.labels)
    rows = pd.concat([train, copies], ignore_index=True) if len(copies) else train.reset_index(drop=True)
    return Setup(backbone, _balanced(data, labels, rows, validation, preprocessing, params))


def without_copies(material: Material, params: Params) -> Material:
    """The same without augmented copies of training clips; classes and groups weigh as the rest is."""
    rows = material.train
    originals = rows[rows["noise_seed"].isna()].reset_index(drop=True) if "noise_seed" in rows else rows
    return _balanced(material.data, material.labels, originals, material.validation, material.preprocessing, params)


def notes(clips: pd.DataFrame, setup: Setup) -> tuple[str, ...]:
    """What a person should know of these clips and this backbone together, in sentences; often nothing."""
    backbone = setup.backbone
    highest_hz = families.of(backbone.config).highest_hz(backbone.config, backbone.feature_extractor)
    rates_hz = clips.loc[clips["split"].isin(("train", "validation", "test")), "sample_rate_hz"]
    said = bandwidth.note(rates_hz, highest_hz)
    return (said,) if said else ()


def _balanced(
    data: Path,
    labels: tuple[str, ...],
    rows: pd.DataFrame,
    validation: pd.DataFrame,
    preprocessing: Preprocessing,
    params: Params,
) -> Material:
    plain = Material(data, labels, rows, validation, preprocessing, imbalance.PLAIN, params.data.labels)
    balance = imbalance.balance(rows, plain.targets(rows), len(labels), params.imbalance, params.finetune)
    return replace(plain, balance=balance)
