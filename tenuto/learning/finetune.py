"""Candidate and baseline: what a run trains, and what filling up rare classes is worth.

The candidate is a head fitted on frozen embeddings (by default a linear probe), then fine-tuned from there (LP-FT);
when fine-tuning does not beat that head on the validation split, the head stays. The baseline is the same architecture
with random weights on the same clips, augmentation and epochs.
"""

from __future__ import annotations

import logging
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from tenuto import labels as label_text
from tenuto.errors import TrainingError
from tenuto.learning import augment, backbones, bandwidth, calibration, checkpoint, embedding, imbalance, probe, trainer
from tenuto.learning.backbones import Backbone, adapters, families
from tenuto.learning.batches import Material
from tenuto.learning.calibration import PLAIN, Calibration
from tenuto.learning.embedding import Encoder, Progress
from tenuto.learning.heads import fitting
from tenuto.learning.optimizers import RATE_FACTORS
from tenuto.learning.predictor import logits_of
from tenuto.learning.preprocessing import Preprocessing, rounded_up
from tenuto.learning.probe import FittedHead
from tenuto.learning.trainer import OnEpoch, Scores
from tenuto.records import GROUP_PREFIX, Checkpoint, FillComparison
from tenuto.settings import FinetuneSettings, ModelSettings, Params

logger = logging.getLogger(__name__)

# by whether the backbone or what is trained of it is small, or for scratch the network
_LEARNING_RATE = {True: 5e-4, False: 3e-5}
_SCRATCH_LEARNING_RATE = {True: 2e-3, False: 1e-4}

_ORIGINS = {
    "linear": "linear probe",
    "mlp": "mlp on frozen embeddings",
    "prototype": "prototypes on frozen embeddings",
}


def train_candidate(
    clips: pd.DataFrame,
    data: Path,
    params: Params,
    cache: Path,
    output: Path,
    *,
    on_progress: Progress | None = None,
    on_epoch: OnEpoch | None = None,
) -> Checkpoint:
    """The candidate, trained on the clips of split 'train' and chosen on 'validation', as the folder `output`.

    `clips` is the manifest with `split`; their paths are relative to `data`. A finished `output` is taken as it is, a
    killed training goes on. Raises TrainingError when the splits are too small, or the backbone cannot be trained in
    the way that is asked for.
    """
    if (output / checkpoint.RECORD_NAME).is_file():
        return checkpoint.read(output)
    started = time.monotonic()
    setup = set_up(clips, data, params)
    model = setup.pretrained(params)
    trainer.check(model, params.finetune)
    fitted = fit_head(setup.material, setup.encoder(model), params, cache)
    fitted.install(model)
    scores, origin, trained = _finetuned(model, setup.material, params, output, on_progress, on_epoch)
    return _write(
        model,
        setup,
        params,
        output,
        started,
        origin=origin,
        validation=scores,
        trained=trained,
        notes=_notes(clips, setup),
    )


def train_baseline(
    clips: pd.DataFrame,
    data: Path,
    params: Params,
    cache: Path,
    output: Path,
    *,
    on_progress: Progress | None = None,
) -> Checkpoint:
    """The baseline from random weights with the same budget; arguments as for `train_candidate`.

    It is the same architecture, tailored alike except that nothing is frozen, or the small network that
    `finetune.baseline` names, which has its own pool and head. Where the candidate is a mere
    probe (no epochs), the baseline trains for one: untrained, it would be no opponent.
    """
    if (output / checkpoint.RECORD_NAME).is_file():
        return checkpoint.read(output)
    started = time.monotonic()
    if params.finetune.baseline != "same":
        params = params.model_copy(update={"backbone": params.finetune.baseline, "model": _bare(params.model)})
    setup = set_up(clips, data, params)
    model = setup.backbone.from_scratch(
        setup.material.labels, seed=params.seed, kind=params.data.labels, tailoring=params.model
    )
    is_small = setup.backbone.is_embedded or not setup.backbone.is_pretrained
    default = _SCRATCH_LEARNING_RATE[is_small] * RATE_FACTORS[params.finetune.optimizer]
    rate = params.finetune.scratch_learning_rate or default
    params = params.model_copy(update={"finetune": _for_scratch(params.finetune, is_small)})
    scores, best = _train(model, setup.material, params, rate, output, on_progress)
    validation = {"macro_f1": scores.macro_f1, "log_loss": scores.log_loss}
    origin, trained = f"epoch {best} from random weights", _trainable(model)
    return _write(model, setup, params, output, started, origin=origin, validation=validation, trained=trained)


def compare_fill(clips: pd.DataFrame, data: Path, params: Params, cache: Path) -> FillComparison:
    """Recall of filled classes and groups on the test split, by heads on frozen embeddings with and without copies."""
    setup = set_up(clips, data, params)
    encoder = setup.encoder(setup.pretrained(params))
    test = clips[clips["split"] == "test"]
    if setup.material.kind == "one":
        test = test[test["label"].isin(setup.material.labels)]
    vectors = embedding.embed(test, data, encoder, cache).vectors
    copies = setup.material.train.get("reason", pd.Series(dtype=str)).dropna()
    plain = _without_copies(setup.material, params)
    recall = {
        name: _recalls(fit_head(material, encoder, params, cache), vectors, test, material, copies.unique())
        for name, material in {"without fill": plain, "with fill": setup.material}.items()
    }
    return FillComparison(copies={str(k): int(n) for k, n in sorted(copies.value_counts().items())}, recall=recall)


@dataclass(frozen=True)
class Setup:
    backbone: Backbone
    material: Material

    def pretrained(self, params: Params) -> Any:
        """The backbone with a new head for the labels, tailored as `params.model` says; nothing is trained yet."""
        return self.backbone.pretrained(
            self.material.labels, seed=params.seed, kind=params.data.labels, tailoring=params.model
        )

    def encoder(self, model: Any) -> Encoder:
        return Encoder(model, self.material.preprocessing, self.backbone.revision)


def set_up(clips: pd.DataFrame, data: Path, params: Params) -> Setup:
    torch.set_num_threads(params.threads)
    backbone = backbones.resolve(params.backbone, params.backbone_revision, root=data.parent)
    train = clips[clips["split"] == "train"]
    longest = rounded_up(float(train["duration_seconds"].max())) if len(train) else params.finetune.max_clip_seconds
    backbone = backbone.shortened(params.model.window_seconds or min(longest, params.finetune.max_clip_seconds))
    preprocessing = Preprocessing.of(
        backbone.feature_extractor,
        backbone.config,
        params.finetune.max_clip_seconds,
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
    return Setup(backbone, _material(data, labels, rows, validation, preprocessing, params))


def _material(
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


def fit_head(material: Material, encoder: Encoder, params: Params, cache: Path) -> FittedHead:
    """The head that `params.model.head` names, fitted on the frozen embeddings of the training clips.

    `cache` keeps these. A linear head is where its objective is least; others stop early by the validation clips. For
    pools that are learned it is fitted on means over frames, which is where those start.
    """
    embedded = embedding.embed(material.train, material.data, encoder, cache)
    logger.info("embeddings: %d computed, %d reused", embedded.computed, embedded.reused)
    targets, classes = material.targets(material.train), len(material.labels)
    if params.model.head == "linear":
        return probe.fit(embedded.vectors, targets, classes, c=params.finetune.probe_c, balance=material.balance)
    validation = embedding.embed(material.validation, material.data, encoder, cache).vectors
    truth = material.targets(material.validation)
    return fitting.fit(
        params.model.head,
        embedded.vectors,
        targets,
        classes,
        hidden_size=params.model.hidden_size,
        balance=material.balance,
        selection=lambda head: trainer.score(head.logits(validation), truth, material.kind).selection,
        seed=params.seed,
    )


def _finetuned(
    model: Any,
    material: Material,
    params: Params,
    output: Path,
    on_progress: Progress | None,
    on_epoch: OnEpoch | None,
) -> tuple[dict[str, float], str, int]:
    """Fine-tune in place, unless the fitted head turns out better.

    Gives the validation scores, who won, and how many parameters were trained for it.
    """
    before = trainer.validate(model, material, params.finetune.batch_size)
    facts = {"probe_macro_f1": before.macro_f1, "probe_log_loss": before.log_loss}
    of_head = facts | {"macro_f1": before.macro_f1, "log_loss": before.log_loss}, _ORIGINS[params.model.head]
    in_head = sum(p.numel() for p in backbones.head(model).parameters())
    if params.finetune.epochs == 0:
        return *of_head, in_head
    updates = adapters.spare(model, params.model, params.seed)
    weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
    after, best = _train(model, material, params, _learning_rate(params), output, on_progress, on_epoch)
    trained = _trainable(model)
    is_worse = after.selection < before.selection
    if is_worse:
        model.load_state_dict(weights)
    if updates is not None:
        updates.merge()
    if is_worse:
        return *of_head, in_head
    return facts | {"macro_f1": after.macro_f1, "log_loss": after.log_loss}, f"epoch {best} of fine-tuning", trained


def _learning_rate(params: Params) -> float:
    is_small = params.backbone == backbones.EMBEDDED or params.model.adapter_size or params.model.lora_rank
    default = _LEARNING_RATE[bool(is_small)] * RATE_FACTORS[params.finetune.optimizer]
    return params.finetune.learning_rate or default


def _trainable(model: Any) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _bare(tailoring: ModelSettings) -> ModelSettings:
    """Windows as they are, and no more: for networks that have their own pool and head."""
    if tailoring.window_seconds is None:
        return ModelSettings()
    return ModelSettings(pool="mean", window_seconds=tailoring.window_seconds, window_overlap=tailoring.window_overlap)


def _for_scratch(settings: FinetuneSettings, is_small: bool) -> FinetuneSettings:
    """Without what is for layers that have learned something, and what small networks have no need of."""
    return settings.model_copy(
        update={
            "epochs": max(settings.epochs, 1),
            "unfreeze": "all",
            "layer_decay": 1.0,
            "head_learning_rate": None,
            "gradient_checkpointing": settings.gradient_checkpointing and not is_small,
        }
    )


def _train(
    model: Any,
    material: Material,
    params: Params,
    rate: float,
    output: Path,
    on_progress: Progress | None,
    on_epoch: OnEpoch | None = None,
) -> tuple[Scores, int]:
    return trainer.train(
        model,
        material,
        params.augment,
        params.finetune,
        learning_rate=rate,
        seed=params.seed,
        work=_work(output),
        on_progress=on_progress,
        on_epoch=on_epoch,
    )


def _write(
    model: Any,
    setup: Setup,
    params: Params,
    output: Path,
    started: float,
    *,
    origin: str,
    validation: dict[str, float],
    trained: int,
    notes: tuple[str, ...] = (),
) -> Checkpoint:
    fitted = _calibrated(model, setup.material, params)
    written = checkpoint.write(
        model,
        setup.material.preprocessing,
        output,
        fitted,
        backbone=setup.backbone.name,
        backbone_revision=setup.backbone.revision,
        backbone_licence=setup.backbone.licence,
        labels=setup.material.labels,
        trainable_parameters=trained,
        seconds=round(time.monotonic() - started, 3),
        origin=origin,
        validation=validation,
        notes=notes,
    )
    shutil.rmtree(_work(output), ignore_errors=True)
    return written


def _calibrated(model: Any, material: Material, params: Params) -> Calibration | None:
    """What `calibrate` in params.yaml asks for, fitted on the validation clips; None when it asks for nothing."""
    if not (params.calibrate.temperature or params.calibrate.thresholds):
        return None
    scores = logits_of(model.eval(), material.validation_batches(params.finetune.batch_size))
    return calibration.fit(scores, material.targets(material.validation), params.calibrate, material.kind)


def _notes(clips: pd.DataFrame, setup: Setup) -> tuple[str, ...]:
    backbone = setup.backbone
    highest_hz = families.of(backbone.config).highest_hz(backbone.config, backbone.feature_extractor)
    rates_hz = clips.loc[clips["split"].isin(("train", "validation", "test")), "sample_rate_hz"]
    said = bandwidth.note(rates_hz, highest_hz)
    return (said,) if said else ()


def _work(output: Path) -> Path:
    return output.with_name(output.name + ".training")


def _without_copies(material: Material, params: Params) -> Material:
    rows = material.train
    originals = rows[rows["noise_seed"].isna()].reset_index(drop=True) if "noise_seed" in rows else rows
    return _material(material.data, material.labels, originals, material.validation, material.preprocessing, params)


def _recalls(
    fitted: FittedHead, vectors: Any, test: pd.DataFrame, material: Material, reasons: Any
) -> dict[str, float]:
    """Recall of each `name=value` that has test clips, and over all classes."""
    said = PLAIN.decide(PLAIN.probabilities(fitted.logits(vectors), material.kind), material.kind)
    truth = label_text.matrix(test["label"].to_numpy(), material.labels, material.kind)
    by_label = {f"label={name}": said[truth[:, place], place] for place, name in enumerate(material.labels)}
    recalls = {"macro": float(np.mean([hits.mean() for hits in by_label.values() if len(hits)]))}
    for reason in sorted(reasons):
        name, _, value = reason.partition("=")
        if name == "label":
            chosen = by_label[reason]
        else:
            of_group = (test[GROUP_PREFIX + name].astype(str) == value).to_numpy()
            chosen = said[of_group][truth[of_group]]
        if len(chosen):
            recalls[reason] = float(chosen.mean())
    return recalls
